// Colours of structures and the buttons of the named windows.

import { element, mark, typing } from "./api.js";

// Boxes that are located or proposed, and are nobody's answer yet.
export const GUIDE = "#e8edf2";

// Told apart with any colour vision, on grey.
export const COLOURS = ["#ffb000", "#56b4e9", "#ff6fae", "#009e73", "#f0e442", "#d55e00", "#7f9cff", "#b3de69"];

// A button for each window, chosen by number keys as well; `set(low, high)` is called at once with the first.
export function windowButtons(place, windows, set) {
  const buttons = windows.map((window, number) => {
    const key = number < 9 ? ` (${number + 1})` : "";
    const title = `${window.low} to ${window.high} HU${key}`;
    const button = element("button", { type: "button", textContent: window.name, title });
    button.onclick = () => {
      for (const other of buttons) mark(other, other === button);
      set(window.low, window.high);
    };
    return button;
  });
  place.replaceChildren(...buttons);
  document.addEventListener("keydown", (event) => {
    if (typing(event) || event.ctrlKey || event.altKey || event.metaKey) return;
    buttons[Number(event.key) - 1]?.click();
  });
  buttons[0].click();
}
