// One plane of a scan on a canvas: the slice's picture, lines over it, and what the mouse does there.
//
// Places are LPS millimetres everywhere but here. A picture's pixel (column, row) has its centre at whole numbers.

import { bitmap, element, say } from "./api.js";

const AHEAD = 3; // slices that are fetched before they are asked for, in the direction of travel
const KEPT = 80; // pictures that are kept
const RIM = 1; // pixels of the scan that a click may lie outside of it
const STILL = 4; // pixels of the screen that a pointer may move between down and up and still click

export class PlaneView {
  // `draw(view, context)` draws over the slice; `on` has click, grab, drag, drop, cancel and hover, with LPS places.
  constructor(canvas, name, on) {
    Object.assign(this, { canvas, name, on, index: 0, pictures: new Map(), step: 1, zoom: 1, pan: [0, 0] });
    this.window = [-160, 240];
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    this.#makeSlider();
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.#cancel());
    // A finger moves the page, as everywhere; only where it holds a face it moves that. (Pointers come before touches.)
    canvas.addEventListener("touchstart", (event) => this.pressed?.held && event.preventDefault(), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  // The slider below the plane walks slices where there is neither wheel nor keyboard, and says where one is.
  #makeSlider() {
    this.number = element("output");
    this.slider = element("input", { type: "range", min: 0, max: 0, disabled: true });
    this.slider.setAttribute("aria-label", `${this.name} slice`);
    this.slider.oninput = () => this.show(Number(this.slider.value));
    this.canvas.after(element("div", { className: "walk" }, element("span", { textContent: this.name }), this.slider, this.number));
  }

  // Show nothing until the next scan is there: what is clicked meanwhile belongs to neither.
  close() {
    this.geometry = undefined;
    this.pressed = null;
    this.paint();
  }

  // Show another scan: `base` is its address, `geometry` what the server says of its grid.
  open(base, geometry) {
    this.base = base;
    this.geometry = geometry;
    this.view = geometry.views[this.name];
    // A new map: pictures of the scan before that are still on their way go into the old one.
    this.pictures = new Map();
    this.zoom = 1;
    this.pan = [0, 0];
    this.index = Math.floor(this.count / 2);
  }

  get count() {
    return this.geometry.shape[this.view.cut];
  }

  get size() {
    return [this.geometry.shape[this.view.across], this.geometry.shape[this.view.down]];
  }

  // mm along the axis that is cut, of the slice that is shown
  get place() {
    return this.geometry.origin[this.view.cut] + this.index * this.geometry.spacing[this.view.cut];
  }

  // Column and row of a place.
  toPixel(lps) {
    const { origin, spacing } = this.geometry;
    const { across, down, flipped } = this.view;
    const column = (lps[across] - origin[across]) / spacing[across];
    const row = (lps[down] - origin[down]) / spacing[down];
    return [column, flipped ? this.size[1] - 1 - row : row];
  }

  toLps(column, row) {
    const { origin, spacing } = this.geometry;
    const { cut, across, down, flipped } = this.view;
    const lps = [0, 0, 0];
    lps[cut] = this.place;
    lps[across] = origin[across] + column * spacing[across];
    lps[down] = origin[down] + (flipped ? this.size[1] - 1 - row : row) * spacing[down];
    return lps;
  }

  // The slice that holds a place.
  goTo(lps) {
    if (!this.geometry) return;
    const { origin, spacing } = this.geometry;
    this.show(Math.round((lps[this.view.cut] - origin[this.view.cut]) / spacing[this.view.cut]));
  }

  show(index) {
    const next = Math.min(Math.max(index, 0), this.count - 1);
    this.step = next < this.index ? -1 : 1;
    this.index = next;
    this.refresh();
  }

  setWindow(low, high) {
    this.window = [low, high];
    this.pictures = new Map();
    if (this.geometry) this.refresh();
  }

  // Fetch the slice that is shown and those that come next, and draw when they are there.
  async refresh() {
    if (!this.geometry) return;
    const { index: wanted, pictures } = this;
    const current = () => this.geometry && wanted === this.index && pictures === this.pictures;
    this.paint();
    try {
      await this.#picture(wanted);
      if (current()) this.paint();
      for (let ahead = 1; ahead <= AHEAD && current(); ahead += 1) {
        const next = wanted + this.step * ahead;
        if (next >= 0 && next < this.count) await this.#picture(next);
      }
    } catch (error) {
      if (current()) say(error.message, true);
    }
  }

  async #picture(index) {
    const [low, high] = this.window;
    const key = `${index}/${low}/${high}`;
    const { pictures } = this;
    if (!pictures.has(key)) {
      pictures.set(key, bitmap(`${this.base}/slice/${this.name}/${index}?low=${low}&high=${high}`));
      while (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
      pictures.get(key).then(
        (picture) => pictures.set(key, picture),
        () => pictures.delete(key),
      );
    }
    return pictures.get(key);
  }

  // Where the picture lies on the canvas: pixels of the canvas for one pixel of the picture, and its corner.
  get frame() {
    const { spacing } = this.geometry;
    const [columns, rows] = this.size;
    const [sx, sy] = [spacing[this.view.across], spacing[this.view.down]];
    const scale = Math.min(this.canvas.width / (columns * sx), this.canvas.height / (rows * sy)) * this.zoom;
    const left = (this.canvas.width - columns * sx * scale) / 2 + this.pan[0];
    const top = (this.canvas.height - rows * sy * scale) / 2 + this.pan[1];
    return { left, top, perColumn: sx * scale, perRow: sy * scale };
  }

  // Canvas position of a pixel's centre, and back.
  toCanvas([column, row]) {
    const { left, top, perColumn, perRow } = this.frame;
    return [left + (column + 0.5) * perColumn, top + (row + 0.5) * perRow];
  }

  fromEvent(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / bounds.width;
    const { left, top, perColumn, perRow } = this.frame;
    const x = (event.clientX - bounds.left) * ratio;
    const y = (event.clientY - bounds.top) * ratio;
    return [(x - left) / perColumn - 0.5, (y - top) / perRow - 0.5];
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(Math.round(clientWidth * ratio), 1);
    this.canvas.height = Math.max(Math.round(clientHeight * ratio), 1);
    const context = this.canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.#showPlace();
    if (!this.geometry) return;
    const { left, top, perColumn, perRow } = this.frame;
    const [columns, rows] = this.size;
    const picture = this.pictures.get(`${this.index}/${this.window[0]}/${this.window[1]}`);
    // A promise is a picture that is on its way.
    const there = picture && !(picture instanceof Promise);
    if (there) context.drawImage(picture, left, top, columns * perColumn, rows * perRow);
    this.canvas.dataset.shown = there ? String(this.index) : "";
    if (this.draw) this.draw(this, context, ratio);
    this.#letters(context, ratio);
  }

  #letters(context, ratio) {
    const { width, height } = this.canvas;
    const [left, right, top, bottom] = this.view.sides;
    context.font = `${13 * ratio}px system-ui, sans-serif`;
    context.fillStyle = "#e8edf2";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const edge = 12 * ratio;
    context.fillText(left, edge, height / 2);
    context.fillText(right, width - edge, height / 2);
    context.fillText(top, width / 2, edge);
    context.fillText(bottom, width / 2, height - edge);
  }

  // Which slice this is, beside the plane.
  #showPlace() {
    const open = Boolean(this.geometry);
    if (!open) this.canvas.dataset.shown = "";
    this.slider.disabled = !open;
    this.slider.max = open ? this.count - 1 : 0;
    this.slider.value = open ? this.index : 0;
    this.number.textContent = open ? `${this.index + 1} / ${this.count}` : "";
    this.slider.setAttribute("aria-valuetext", this.number.textContent);
  }

  #wheel(event) {
    if (!this.geometry) return;
    event.preventDefault();
    if (!event.ctrlKey) {
      this.show(this.index - Math.sign(event.deltaY));
      return;
    }
    this.zoom = Math.min(Math.max(this.zoom * (event.deltaY < 0 ? 1.2 : 1 / 1.2), 1), 12);
    if (this.zoom === 1) this.pan = [0, 0];
    this.paint();
  }

  #down(event) {
    if (!this.geometry) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const pixel = this.fromEvent(event);
    this.pressed = { pixel, at: [event.clientX, event.clientY], pan: [...this.pan], button: event.button };
    this.pressed.held = this.on.grab ? this.on.grab(this, pixel, event) : null;
  }

  #move(event) {
    if (!this.geometry) return;
    const pixel = this.fromEvent(event);
    if (!this.pressed) {
      if (this.on.hover) this.on.hover(this, pixel);
    } else if (this.pressed.held) {
      this.pressed.dragged ||= this.#travelled(event) >= STILL;
      if (this.pressed.dragged) this.on.drag(this, this.pressed.held, this.toLps(...pixel));
    } else if (this.pressed.button === 1 || event.shiftKey) {
      const ratio = window.devicePixelRatio || 1;
      this.pan = [0, 1].map((k) => this.pressed.pan[k] + ([event.clientX, event.clientY][k] - this.pressed.at[k]) * ratio);
      this.paint();
    }
  }

  #up(event) {
    const { pressed } = this;
    const still = pressed && this.#travelled(event) < STILL;
    this.pressed = null;
    if (!pressed || !this.geometry) return;
    if (pressed.dragged) {
      this.on.drop(this, pressed.held);
      return;
    }
    // A click just beside the picture means its rim: structures may end with the scan.
    const pixel = this.fromEvent(event);
    const place = pixel.map((value, k) => Math.min(Math.max(value, -0.5), this.size[k] - 0.5));
    const near = pixel.every((value, k) => Math.abs(value - place[k]) <= RIM);
    if (still && near && this.on.click) this.on.click(this, this.toLps(...place), event);
  }

  // The browser takes the finger for moving or enlarging the page.
  #cancel() {
    const dragged = this.pressed?.dragged;
    this.pressed = null;
    if (dragged) this.on.cancel(this);
  }

  #travelled(event) {
    return Math.hypot(event.clientX - this.pressed.at[0], event.clientY - this.pressed.at[1]);
  }

  #key(event) {
    if (!this.geometry) return;
    const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (event.key in steps) this.show(this.index + steps[event.key]);
    else if (event.key === "Home") this.show(this.count - 1);
    else if (event.key === "End") this.show(0);
    else return;
    event.preventDefault();
  }
}
