// The page of `medlsam annotate`: six extreme points of each structure in each scan, saved with every click.

import { Refused, element, fill, get, mark, post, say, trying, typing } from "./api.js";
import { COLOURS, GUIDE, windowButtons } from "./looks.js";
import { PlaneView } from "./plane.js";
import { drawPoints, faceOf, moved } from "./points.js";
import { drawBox, faceAt } from "./shapes.js";

// In this order the eye travels least: the ends along the body first, then the sides.
const ORDER = ["z+", "z-", "x-", "x+", "y-", "y+"];
const planes = {};
const state = { project: null, index: -1, open: false, structure: null, face: null, proposals: {}, dragged: null, agreeing: null };

const answers = () => state.project.cases[state.index];
const marks = () => (state.structure === null ? null : answers()?.marks[state.structure]);
const proposal = () => state.proposals[state.structure];
const colourOf = (name) => COLOURS[state.project.structures.indexOf(name) % COLOURS.length];

function draw(view, context, ratio) {
  for (const [name, own] of Object.entries(answers().marks)) {
    const colour = colourOf(name);
    const chosen = name === state.structure;
    const box = chosen && state.dragged ? state.dragged.box : own.box;
    if (box) drawBox(view, context, box, colour, ratio, !own.complete);
    if (chosen) drawPoints(view, context, own, colour, ratio);
  }
  if (proposal()?.box && !marks()?.complete) drawBox(view, context, proposal().box, GUIDE, ratio, true);
}

// Take the server's answer to a change; a tab that is behind gets the newer state with the refusal.
async function change(what, body = {}) {
  const index = state.index;
  const done = await trying(async () => {
    try {
      return await post(`/api/case/${index}/${what}`, { ...body, seen: answers().seen });
    } catch (error) {
      if (error instanceof Refused) Object.assign(state.project, await get("/api/project"));
      throw error;
    }
  });
  if (done) {
    state.project.cases[index] = done.answers;
    state.project.structures = done.structures;
    say("saved");
  }
  show();
  if (done && answers().done) await agreement();
}

function nextFace() {
  const missing = marks()?.missing ?? [];
  state.face = ORDER.find((face) => missing.includes(face)) ?? null;
}

async function place(lps) {
  if (state.structure === null) {
    say("name a structure first", true);
    return;
  }
  if (state.face === null) {
    say("all six points are placed; choose the face whose point should move", true);
    return;
  }
  await change("place", { structure: state.structure, point: lps, face: state.face });
  nextFace();
  show();
}

async function openCase(index) {
  if (!state.project.cases[index]) return;
  state.index = index;
  state.open = false;
  state.proposals = {};
  for (const view of Object.values(planes)) view.close();
  say(`reading ${answers().case} ...`);
  show();
  const opened = await trying(() => get(`/api/case/${index}`));
  if (!opened || state.index !== index) return;
  state.project.cases[index] = opened.answers;
  state.open = true;
  for (const view of Object.values(planes)) {
    view.open(`/api/case/${index}`, opened.geometry);
    view.refresh();
  }
  say(opened.answers.fault, Boolean(opened.answers.fault));
  choose(state.structure ?? state.project.structures[0] ?? null);
  await propose();
}

function choose(name) {
  state.structure = name;
  nextFace();
  const box = marks()?.box ?? proposal()?.box;
  if (box) goTo(box.min.map((low, axis) => (low + box.max[axis]) / 2));
  show();
}

function goTo(lps) {
  for (const view of Object.values(planes)) view.goTo(lps);
}

// Ask what the templates so far locate; the first time in a scan this takes seconds.
async function propose() {
  const index = state.index;
  const found = await trying(() => post(`/api/case/${index}/propose`));
  if (!found || state.index !== index) return;
  state.proposals = found.proposals;
  show();
}

// How the scans agree. It takes seconds where there are many: while it is asked, later changes wait for one more asking.
async function agreement() {
  if (state.agreeing) {
    state.agreeing = "again";
    return;
  }
  state.agreeing = "once";
  const found = await trying(() => post("/api/agreement"));
  const again = state.agreeing === "again";
  state.agreeing = null;
  if (again) agreement();
  if (!found) return;
  fill(document.getElementById("agreement"), found.messages.map((text) => element("li", { textContent: text })));
}

async function build() {
  say("building: masks are drawn in the boxes, some seconds for each scan ...");
  const built = await trying(() => post("/api/build"));
  if (!built) return;
  say(`wrote ${built.file}: medlsam segment --support ${built.file} --images ... --output ...`);
  // What is not in the file, or not as it should be: in the place where the scans' fit is told.
  if (built.notes.length) {
    fill(document.getElementById("agreement"), built.notes.map((text) => element("li", { textContent: text })));
  }
}

function show() {
  const rows = state.project.cases.map((own, index) => {
    const left = Object.values(own.marks).filter((one) => !one.absent && !one.complete).length;
    const words = own.fault ? "cannot be marked" : own.labelled ? "has a label map" : own.done ? "done" : `${left} to do`;
    const button = element("button", { type: "button", onclick: () => openCase(index) }, own.case);
    button.append(element("span", { className: own.done ? "quiet reason" : "reason", textContent: words }));
    mark(button, index === state.index, "aria-current");
    return element("li", { className: index === state.index ? "chosen" : "" }, button);
  });
  fill(document.getElementById("cases"), rows);
  fill(document.getElementById("structures"), state.project.structures.map(structureRow));
  fill(document.getElementById("faces"), faceButtons());
  fill(document.getElementById("tools"), tools());
  const notes = [...(marks()?.notes ?? [])];
  if (proposal() && !marks()?.complete) notes.unshift(proposal().message);
  fill(document.getElementById("notes"), notes.map((text) => element("li", { textContent: text })));
  document.getElementById("next").textContent = hint();
  for (const view of Object.values(planes)) view.paint();
}

// What a click in a plane does now.
function hint() {
  const own = marks();
  if (!answers() || answers().fault) return "";
  if (state.structure === null) return "name a structure first";
  if (own?.absent) return `${state.structure} is not in this scan`;
  if (state.face === null) return `${state.structure} is complete: drag an edge of its box, or choose a point to move`;
  return `click: ${state.structure}, ${state.project.faces[state.face]}`;
}

function structureRow(name) {
  const own = answers()?.marks[name];
  const colour = element("span", { className: "colour" });
  colour.style.background = colourOf(name);
  const button = element("button", { type: "button", onclick: () => choose(name) }, name);
  mark(button, name === state.structure);
  const words = !own ? "" : own.absent ? "not in this scan" : own.complete ? "complete" : `${own.remaining} points to place`;
  button.append(element("span", { className: own?.complete ? "quiet reason" : "reason", textContent: words }));
  return element("li", {}, element("div", { className: "row" }, colour, button));
}

function faceButtons() {
  const own = marks();
  if (!own) return [];
  return ORDER.map((face) => {
    const there = own.faces[face];
    const button = element("button", { type: "button", textContent: `${there ? "✓ " : ""}${state.project.faces[face]}` });
    button.dataset.face = face;
    mark(button, state.face === face);
    button.title = there ? "click in a plane moves this point" : "click in a plane places this point";
    button.onclick = () => {
      state.face = face;
      if (there) goTo(there);
      show();
    };
    return button;
  });
}

function tools() {
  const own = marks();
  const able = Boolean(own) && state.open;
  const found = proposal();
  const make = (name, text, enabled, work) => element("button", { type: "button", id: name, textContent: text, disabled: !enabled, onclick: work });
  const named = { structure: state.structure };
  return [
    make("accept", "Accept the proposal", able && Boolean(found?.box) && !own.complete, () => change("accept", named)),
    make("absent", "Not in this scan", able && !own.absent, () => change("absent", named)),
    make("clear", "Remove", able && (own.absent || own.remaining < 6), () => change("remove", named).then(nextFace).then(show)),
    make("undo", "Undo", Boolean(answers()?.can_undo), () => change("undo").then(nextFace).then(show)),
    make("redo", "Redo", Boolean(answers()?.can_redo), () => change("redo").then(nextFace).then(show)),
  ];
}

async function add(event) {
  event.preventDefault();
  const field = document.getElementById("name");
  const added = await trying(() => post("/api/structure", { name: field.value }));
  if (!added) return;
  field.value = "";
  Object.assign(state.project, await get("/api/project"));
  choose(added.name);
}

function keys(event) {
  if (typing(event) || event.ctrlKey || event.metaKey) return;
  // Enter on a button, or on the summary of the help, is that one's own.
  if (event.key === "Enter" && event.target.matches("button, summary")) return;
  const buttons = { u: "undo", r: "redo", Enter: "accept", 0: "absent" };
  if (event.key in buttons) document.getElementById(buttons[event.key])?.click();
  else if (event.key === "]") openCase(state.index + 1);
  else if (event.key === "[") openCase(state.index - 1);
}

function plane(name) {
  const view = new PlaneView(document.getElementById(name), name, {
    click: (own, lps, event) => (event.altKey ? goTo(lps) : place(lps)),
    grab: (own, pixel, event) => {
      const box = marks()?.box;
      const face = box && marks().complete ? faceAt(own, box, pixel, event.pointerType) : null;
      return face && marks().faces[faceOf(face)] ? { face, box } : null;
    },
    drag: (own, held, lps) => {
      state.dragged = { ...held, position: lps[held.face.axis], box: moved(held.box, held.face, lps[held.face.axis]) };
      for (const each of Object.values(planes)) each.paint();
    },
    drop: () => {
      const { dragged } = state;
      state.dragged = null;
      if (dragged) change("move_face", { structure: state.structure, face: faceOf(dragged.face), position: dragged.position });
    },
    cancel: () => {
      state.dragged = null;
      show();
    },
    hover: (own, pixel) => {
      const box = marks()?.complete ? marks().box : null;
      own.canvas.style.cursor = box && faceAt(own, box, pixel) ? "move" : "crosshair";
      const lps = own.toLps(...pixel).map((value) => value.toFixed(1));
      document.getElementById("where").textContent = `L ${lps[0]}  P ${lps[1]}  S ${lps[2]} mm`;
    },
  });
  view.draw = (own, context, ratio) => state.open && draw(own, context, ratio);
  planes[name] = view;
}

async function begin() {
  state.project = await trying(() => get("/api/project"));
  if (!state.project) return;
  document.title = `medlsam: ${state.project.name}`;
  document.getElementById("title").textContent = state.project.name;
  for (const name of ["axial", "coronal", "sagittal"]) plane(name);
  windowButtons(document.getElementById("windows"), state.project.windows, (low, high) => {
    for (const view of Object.values(planes)) view.setWindow(low, high);
  });
  document.getElementById("add").onsubmit = add;
  document.getElementById("build").onclick = build;
  document.addEventListener("keydown", keys);
  const first = state.project.cases.findIndex((own) => !own.done && !own.fault);
  await openCase(Math.max(first, 0));
}

begin();
