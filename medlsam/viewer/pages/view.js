// The page of `medlsam view`: the scans of a run, the most doubtful first; three planes; structures and their numbers.

import { element, fill, get, mark, say, trying, typing } from "./api.js";
import { Correcting, background } from "./correct.js";
import { COLOURS, GUIDE, windowButtons } from "./looks.js";
import { numbersOf } from "./numbers.js";
import { PlaneView } from "./plane.js";
import { drawBox, drawLines } from "./shapes.js";

const planes = {};
const state = { run: null, index: -1, open: null, hidden: new Set(), chosen: null, boxes: true, masks: true, outlines: new Map() };
const correcting = new Correcting({
  get index() {
    return state.index;
  },
  get chosen() {
    return state.chosen;
  },
  show: () => {
    listStructures();
    repaint();
  },
  redraw: () => {
    state.outlines = new Map();
    listStructures();
    repaint();
  },
});

export function colourOf(name) {
  return COLOURS[Object.keys(state.run.values).indexOf(name) % COLOURS.length];
}

function draw(view, context, ratio) {
  for (const entry of state.open.structures) {
    if (state.hidden.has(entry.name)) continue;
    const colour = colourOf(entry.name);
    const lines = outlinesAt(view)?.[entry.name];
    if (state.masks && lines) drawLines(view, context, lines, colour, ratio);
    const chosen = entry.name === state.chosen;
    if (chosen) correcting.draw(view, context, colour, ratio);
    if (!state.boxes || !entry.present || !chosen || correcting.mode === "box") continue;
    drawBox(view, context, entry.prompt_box, colour, ratio, true);
    drawBox(view, context, entry.located_box, GUIDE, ratio);
  }
}

// Outlines of the slice that is shown; undefined while they are on their way.
function outlinesAt(view) {
  const key = `${state.index}/${view.name}/${view.index}`;
  if (!state.outlines.has(key)) {
    state.outlines.set(key, undefined);
    while (state.outlines.size > 300) state.outlines.delete(state.outlines.keys().next().value);
    trying(async () => {
      const asked = state.outlines;
      const { lines, pending } = await get(`/api/case/${state.index}/outlines/${view.name}/${view.index}`);
      if (pending) {
        say(pending);
        state.waiting = true;
        setTimeout(() => {
          asked.delete(key);
          view.paint();
        }, 700);
        return;
      }
      if (state.waiting) say("");
      state.waiting = false;
      asked.set(key, lines);
      view.paint();
    });
  }
  return state.outlines.get(key);
}

function goTo(lps) {
  for (const view of Object.values(planes)) view.goTo(lps);
}

async function openCase(index) {
  const entry = state.run.cases[index];
  if (!entry) return;
  state.index = index;
  // Until this scan is there nothing is shown: what is clicked meanwhile would be for neither.
  state.open = null;
  state.chosen = null;
  correcting.reset();
  for (const view of Object.values(planes)) view.close();
  listCases();
  listStructures();
  if (entry.error) {
    say(`${entry.name}: ${entry.error}`, true);
    return;
  }
  say(`reading ${entry.name} ...`);
  const opened = await trying(() => get(`/api/case/${index}`));
  if (!opened || state.index !== index) return;
  state.open = { ...entry, ...opened };
  state.outlines = new Map();
  for (const view of Object.values(planes)) view.open(`/api/case/${index}`, opened.geometry);
  const first = entry.structures.find((own) => own.present);
  if (first) choose(first.name);
  else for (const view of Object.values(planes)) view.refresh();
  listStructures();
  say(entry.warnings.join(" · "));
}

function choose(name) {
  state.chosen = name;
  const center = state.open.centers[name];
  if (center) goTo(center);
  else for (const view of Object.values(planes)) view.refresh();
  listStructures();
}

function listCases() {
  const wanted = document.getElementById("filter").value.toLowerCase();
  const rows = state.run.cases.map((entry, index) => {
    const words = [entry.name, ...entry.structures.map((own) => own.name)].join(" ").toLowerCase();
    if (!words.includes(wanted)) return null;
    const reasons = entry.error ? ["failed"] : entry.structures.flatMap((own) => own.reasons.map((why) => `${own.name}: ${why}`));
    const button = element("button", { type: "button", onclick: () => openCase(index) }, entry.name);
    button.append(...reasons.slice(0, 2).map((text) => element("span", { className: "reason", textContent: text })));
    if (reasons.length > 2) button.append(element("span", { className: "reason", textContent: `and ${reasons.length - 2} more` }));
    mark(button, index === state.index, "aria-current");
    return element("li", { className: index === state.index ? "chosen" : "" }, button);
  });
  fill(document.getElementById("cases"), rows.filter(Boolean));
}

function listStructures() {
  const structures = state.open?.structures ?? [];
  const rows = structures.map((entry) => {
    const shown = element("input", { type: "checkbox", checked: !state.hidden.has(entry.name), title: "show" });
    shown.setAttribute("aria-label", `show ${entry.name}`);
    shown.onchange = () => {
      if (shown.checked) state.hidden.delete(entry.name);
      else state.hidden.add(entry.name);
      repaint();
    };
    const colour = element("span", { className: "colour" });
    colour.style.background = colourOf(entry.name);
    const button = element("button", { type: "button", onclick: () => choose(entry.name) }, entry.name);
    button.append(...entry.reasons.map((text) => element("span", { className: "reason", textContent: text })));
    mark(button, entry.name === state.chosen);
    return element("li", {}, element("div", { className: "row" }, shown, colour, button));
  });
  const correctable = state.run.correctable && state.chosen;
  fill(document.getElementById("structures"), rows);
  fill(document.getElementById("tools"), correctable ? correcting.tools() : []);
  document.getElementById("next").textContent = state.open && (correctable ? correcting.hint : "click: all planes go there");
  const entry = structures.find((own) => own.name === state.chosen);
  const numbers = entry ? numbersOf(entry) : [];
  document.getElementById("numbers").replaceChildren(
    ...numbers.flatMap(([term, text]) => [element("dt", { textContent: term }), element("dd", { textContent: text })]),
  );
}

function repaint() {
  for (const view of Object.values(planes)) view.paint();
}

function keys(event) {
  if (typing(event)) return;
  if (event.ctrlKey || event.metaKey || (state.run.correctable && state.open && correcting.key(event))) return;
  if (event.key === "]") openCase(state.index + 1);
  else if (event.key === "[") openCase(state.index - 1);
  else if (event.key === "b" || event.key === "m") {
    const what = event.key === "b" ? "boxes" : "masks";
    state[what] = !state[what];
    repaint();
  }
}

async function begin() {
  state.run = await trying(() => get("/api/run"));
  if (!state.run) return;
  document.title = `medlsam: ${state.run.name}`;
  document.getElementById("title").textContent = state.run.name;
  for (const name of ["axial", "coronal", "sagittal"]) {
    const view = new PlaneView(document.getElementById(name), name, {
      click: (own, lps, event) => correcting.click(lps, event) || goTo(lps),
      grab: (own, pixel, event) => correcting.grab(own, pixel, event),
      drag: (own, held, lps) => {
        correcting.drag(held, lps);
        repaint();
      },
      drop: () => correcting.drop(),
      cancel: () => {
        correcting.cancel();
        repaint();
      },
      hover: (own, pixel) => {
        own.canvas.style.cursor = correcting.cursor(own, pixel);
        const lps = own.toLps(...pixel).map((value) => value.toFixed(1));
        document.getElementById("where").textContent = `L ${lps[0]}  P ${lps[1]}  S ${lps[2]} mm`;
      },
    });
    view.draw = (own, context, ratio) => state.open && draw(own, context, ratio);
    planes[name] = view;
  }
  windowButtons(document.getElementById("windows"), state.run.windows, (low, high) => {
    for (const view of Object.values(planes)) view.setWindow(low, high);
  });
  document.getElementById("filter").oninput = listCases;
  document.getElementById("use").hidden = !state.run.correctable;
  document.getElementById("make-templates").onclick = () => background("/api/templates");
  document.getElementById("finetune").onclick = () => background("/api/finetune");
  document.addEventListener("keydown", keys);
  listCases();
  const wanted = state.run.cases.findIndex((entry) => entry.name === new URLSearchParams(location.search).get("case"));
  await openCase(Math.max(wanted, 0));
}

begin();
