// One plane of a scan on a canvas: the slice's picture, lines over it, and what the mouse does there.
//
// Places are LPS millimetres everywhere but here. A picture's pixel (column, row) has its centre at whole numbers.

import { bitmap, say } from "./api.js";

const AHEAD = 3; // slices that are fetched before they are asked for, in the direction of travel
const KEPT = 80; // pictures that are kept
const RIM = 1; // pixels of the scan that a click may lie outside of it

export class PlaneView {
  // `draw(view, context)` draws over the slice; `on` has click, drag, drop, hover and moved, each with LPS places.
  constructor(canvas, name, on) {
    Object.assign(this, { canvas, name, on, index: 0, pictures: new Map(), step: 1, zoom: 1, pan: [0, 0] });
    this.window = [-160, 240];
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.paint()).observe(canvas);
  }

  // Show another scan: `base` is its address, `geometry` what the server says of its grid.
  open(base, geometry) {
    this.base = base;
    this.geometry = geometry;
    this.view = geometry.views[this.name];
    this.pictures.clear();
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
    const { origin, spacing } = this.geometry;
    this.show(Math.round((lps[this.view.cut] - origin[this.view.cut]) / spacing[this.view.cut]));
  }

  show(index) {
    const next = Math.min(Math.max(index, 0), this.count - 1);
    this.step = next < this.index ? -1 : 1;
    this.index = next;
    this.refresh();
    if (this.on.moved) this.on.moved(this);
  }

  setWindow(low, high) {
    this.window = [low, high];
    this.pictures.clear();
    if (this.geometry) this.refresh();
  }

  // Fetch the slice that is shown and those that come next, and draw when they are there.
  async refresh() {
    const wanted = this.index;
    this.paint();
    try {
      await this.#picture(wanted);
      if (wanted === this.index) this.paint();
      for (let ahead = 1; ahead <= AHEAD && wanted === this.index; ahead += 1) {
        const next = wanted + this.step * ahead;
        if (next >= 0 && next < this.count) await this.#picture(next);
      }
    } catch (error) {
      say(error.message, true);
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
    context.textAlign = "left";
    context.fillText(`${this.name}  ${this.index + 1} / ${this.count}`, edge / 2, height - edge);
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
    this.canvas.focus();
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
      this.on.drag(this, this.pressed.held, this.toLps(...pixel));
    } else if (this.pressed.button === 1 || event.shiftKey) {
      const ratio = window.devicePixelRatio || 1;
      this.pan = [0, 1].map((k) => this.pressed.pan[k] + ([event.clientX, event.clientY][k] - this.pressed.at[k]) * ratio);
      this.paint();
    }
  }

  #up(event) {
    const { pressed } = this;
    this.pressed = null;
    if (!pressed || !this.geometry) return;
    if (pressed.held) {
      this.on.drop(this, pressed.held);
      return;
    }
    const moved = Math.hypot(event.clientX - pressed.at[0], event.clientY - pressed.at[1]);
    // A click just beside the picture means its rim: structures may end with the scan.
    const pixel = this.fromEvent(event);
    const place = pixel.map((value, k) => Math.min(Math.max(value, -0.5), this.size[k] - 0.5));
    const near = pixel.every((value, k) => Math.abs(value - place[k]) <= RIM);
    if (moved < 4 && near && this.on.click) this.on.click(this, this.toLps(...place), event);
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

// Draw closed or open lines of pixels.
export function drawLines(view, context, lines, colour, ratio, width = 1.6) {
  context.strokeStyle = colour;
  context.lineWidth = width * ratio;
  context.beginPath();
  for (const line of lines) {
    line.forEach((pixel, k) => {
      const [x, y] = view.toCanvas(pixel);
      if (k) context.lineTo(x, y);
      else context.moveTo(x, y);
    });
  }
  context.stroke();
}

// The rectangle of a box {min, max} where it crosses the slice; dashed beyond it.
export function drawBox(view, context, box, colour, ratio, dashed = false) {
  const { cut } = view.view;
  const half = view.geometry.spacing[cut] / 2;
  if (view.place < box.min[cut] - half || view.place > box.max[cut] + half) return false;
  const [x0, y0] = view.toCanvas(view.toPixel(box.min));
  const [x1, y1] = view.toCanvas(view.toPixel(box.max));
  context.strokeStyle = colour;
  context.lineWidth = 1.4 * ratio;
  context.setLineDash(dashed ? [5 * ratio, 4 * ratio] : []);
  context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  context.setLineDash([]);
  return true;
}

// Which face of a box lies under a pixel: {axis, high}, or null. `reach` is in pixels of the screen.
export function faceAt(view, box, pixel, reach = 8) {
  const ratio = window.devicePixelRatio || 1;
  const [x, y] = view.toCanvas(pixel);
  const corners = [view.toCanvas(view.toPixel(box.min)), view.toCanvas(view.toPixel(box.max))];
  const { cut, across, down } = view.view;
  const half = view.geometry.spacing[cut] / 2;
  if (view.place < box.min[cut] - half || view.place > box.max[cut] + half) return null;
  const near = reach * ratio;
  const [left, right] = [Math.min(corners[0][0], corners[1][0]), Math.max(corners[0][0], corners[1][0])];
  const [top, bottom] = [Math.min(corners[0][1], corners[1][1]), Math.max(corners[0][1], corners[1][1])];
  let best = null;
  corners.forEach(([cx, cy], high) => {
    const beside = y > top - near && y < bottom + near;
    const below = x > left - near && x < right + near;
    for (const [distance, within, axis] of [[Math.abs(x - cx), beside, across], [Math.abs(y - cy), below, down]]) {
      if (within && distance <= near && (!best || distance < best.distance)) best = { axis, high: Boolean(high), distance };
    }
  });
  return best && { axis: best.axis, high: best.high };
}
