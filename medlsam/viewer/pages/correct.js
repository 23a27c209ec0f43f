// Correct a mask: drag a face of its box, click points inside and outside, accept it.
//
// Every edit is answered with the state of all structures; the server has saved it by then.

import { Refused, element, get, mark, post, say, trying } from "./api.js";
import { GUIDE } from "./looks.js";
import { moved } from "./points.js";
import { drawBox, faceAt } from "./shapes.js";

export class Correcting {
  // `page` has index, chosen, planes, name(structure) and redraw(slices).
  constructor(page) {
    this.page = page;
    this.mode = "look";
    this.state = null;
    this.dragged = null;
    this.busy = false;
  }

  reset() {
    this.state = null;
    this.mode = "look";
    this.dragged = null;
  }

  get own() {
    return this.state?.structures[this.page.chosen];
  }

  // The first time in a run this loads the model, so it takes seconds.
  async begin(mode) {
    this.mode = mode;
    if (mode !== "look" && !this.state) {
      say("getting ready to correct ...");
      const index = this.page.index;
      const state = await trying(() => get(`/api/case/${index}/session`));
      if (state && this.page.index === index) {
        this.state = state;
        say("");
      }
    }
    this.page.show();
  }

  async change(action, body = {}) {
    if (this.busy || !this.state) return;
    this.busy = true;
    const index = this.page.index;
    const began = performance.now();
    const answer = await trying(async () => {
      try {
        return await post(`/api/case/${index}/${action}`, { structure: this.page.chosen, seen: this.state.seen, ...body });
      } catch (error) {
        if (error instanceof Refused) this.state = await get(`/api/case/${index}/session`);
        throw error;
      }
    });
    this.busy = false;
    if (answer && this.page.index === index) {
      this.state = answer;
      say(`saved, ${((performance.now() - began) / 1000).toFixed(2)} s`);
    }
    this.page.redraw();
  }

  // A click of the page; returns whether it was for us.
  click(lps, event) {
    if (!(this.mode in { inside: 1, outside: 1 }) || event.altKey) return false;
    const inside = this.mode === "inside" ? event.button !== 2 : event.button === 2;
    this.change("click", { point: lps, inside });
    return true;
  }

  grab(view, pixel, event) {
    if (this.mode !== "box" || !this.own?.box) return null;
    const face = faceAt(view, this.own.box, pixel, event.pointerType);
    return face && { face, box: this.own.box };
  }

  drag(held, lps) {
    this.dragged = moved(held.box, held.face, lps[held.face.axis]);
  }

  drop() {
    const box = this.dragged;
    this.dragged = null;
    if (box) this.change("box", { box });
  }

  cancel() {
    this.dragged = null;
  }

  // What a click or a drag in a plane does now.
  get hint() {
    const name = this.page.chosen;
    return {
      look: "click: all planes go there",
      box: `drag an edge of the white box of ${name}`,
      inside: `click what belongs to ${name}`,
      outside: `click what does not belong to ${name}`,
    }[this.mode];
  }

  cursor(view, pixel) {
    if (this.mode === "box" && this.own?.box && faceAt(view, this.own.box, pixel)) return "move";
    return this.mode === "inside" || this.mode === "outside" ? "cell" : "crosshair";
  }

  draw(view, context, colour, ratio) {
    const { own } = this;
    if (!own) return;
    if (this.mode === "box" && own.box) drawBox(view, context, this.dragged ?? own.box, GUIDE, ratio);
    for (const { point, inside } of own.clicks) {
      const away = Math.abs(point[view.view.cut] - view.place);
      if (away > view.geometry.spacing[view.view.cut]) continue;
      const [x, y] = view.toCanvas(view.toPixel(point));
      const size = 5 * ratio;
      context.strokeStyle = inside ? "#b3de69" : "#ff6fae";
      context.lineWidth = 2 * ratio;
      context.beginPath();
      context.moveTo(x - size, y);
      context.lineTo(x + size, y);
      if (inside) {
        context.moveTo(x, y - size);
        context.lineTo(x, y + size);
      }
      context.stroke();
    }
  }

  // The buttons for the structure that is chosen.
  tools() {
    const { own } = this;
    const mode = (name, text, title) => {
      const button = element("button", { type: "button", id: `mode-${name}`, textContent: text, title });
      button.onclick = () => this.begin(name);
      return mark(button, this.mode === name);
    };
    const act = (id, text, enabled, action) =>
      element("button", { type: "button", id, textContent: text, disabled: !enabled, onclick: () => this.change(action) });
    return [
      mode("look", "Look", "click: all planes go there (l)"),
      mode("box", "Box", "drag a face of the white box (x)"),
      mode("inside", "+ Inside", "click what belongs to it; right button: what does not (i)"),
      mode("outside", "− Outside", "click what does not belong to it; right button: what does (o)"),
      act("undo", "Undo", own?.can_undo, "undo"),
      act("redo", "Redo", own?.can_redo, "redo"),
      act("clear", "Clear clicks", own?.clicks.length > 0, "clear"),
      act("absent", "Not in this scan", own && !own.absent, "absent"),
      own?.accepted ? act("accept", "Take acceptance back", true, "unaccept") : this.#accept(),
    ];
  }

  #accept() {
    const button = element("button", { type: "button", id: "accept", textContent: "Accept", title: "the mask is right as it is (a)" });
    button.onclick = async () => {
      await this.begin(this.mode);
      if (!this.state) await this.#session();
      await this.change("accept");
    };
    return button;
  }

  async #session() {
    const state = await trying(() => get(`/api/case/${this.page.index}/session`));
    if (state) this.state = state;
  }

  key(event) {
    const modes = { l: "look", x: "box", i: "inside", o: "outside" };
    const buttons = { u: "undo", r: "redo", a: "accept", 0: "absent" };
    if (event.key in modes) this.begin(modes[event.key]);
    else if (event.key in buttons) document.getElementById(buttons[event.key])?.click();
    else return false;
    return true;
  }
}

// Work in the background: start it, and say how it stands until it ends.
export async function background(path) {
  if (!(await trying(() => post(path)))) return;
  const poll = async () => {
    const job = await trying(() => get("/api/job"));
    if (!job) return;
    say(`${job.name}: ${job.text}`, job.failed);
    if (job.running) setTimeout(poll, 700);
  };
  await poll();
}
