// Requests to our own server. Errors are shown in the page's line of messages, in the server's words.

export class Refused extends Error {}

async function answerOf(response) {
  const type = response.headers.get("content-type") || "";
  const document_ = type.startsWith("application/json") ? await response.json() : {};
  if (!response.ok) throw new Refused(document_.error || `the server answers ${response.status}`);
  return document_;
}

export async function get(path) {
  return answerOf(await fetch(path));
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

export async function bitmap(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Refused((await response.json()).error || `the server answers ${response.status}`);
  return createImageBitmap(await response.blob());
}

// Say something to the user; an error stays until the next message.
export function say(text, bad = false) {
  const line = document.getElementById("message");
  line.textContent = text;
  line.classList.toggle("bad", bad);
}

// Run something that may be refused, and say so where it is.
export async function trying(work) {
  try {
    return await work();
  } catch (error) {
    const gone = error instanceof TypeError; // what fetch throws where nobody listens
    say(gone ? "The server does not answer; it may have ended. Start it again and open the new address." : error.message, true);
    return undefined;
  }
}

// Put other children in a place. Who walks by keyboard stays at the control of the same number.
export function fill(place, children) {
  const controls = () => [...place.querySelectorAll("button, input")];
  const { activeElement } = document;
  const at = activeElement?.matches(":focus-visible") ? controls().indexOf(activeElement) : -1;
  place.replaceChildren(...children);
  if (at >= 0) controls()[at]?.focus({ preventScroll: true });
}

// Mark a button as the chosen one, or not; `attribute` says it to screen readers.
export function mark(button, chosen, attribute = "aria-pressed") {
  button.classList.toggle("chosen", chosen);
  button.setAttribute(attribute, String(chosen));
  return button;
}

// Whether a key is meant for the field that is typed in, and not for the page.
export const typing = (event) => event.target.matches("input:not([type=range], [type=checkbox])");

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
