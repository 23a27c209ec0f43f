// What is drawn over a slice, and what of it lies under the pointer.

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

// Pixels of the screen beside an edge that still grab it: a finger hides more than a mouse's arrow.
const REACH = { touch: 18, other: 8 };

// Which face of a box lies under a pixel: {axis, high}, or null.
export function faceAt(view, box, pixel, pointer = "mouse") {
  const ratio = window.devicePixelRatio || 1;
  const [x, y] = view.toCanvas(pixel);
  const corners = [view.toCanvas(view.toPixel(box.min)), view.toCanvas(view.toPixel(box.max))];
  const { cut, across, down } = view.view;
  const half = view.geometry.spacing[cut] / 2;
  if (view.place < box.min[cut] - half || view.place > box.max[cut] + half) return null;
  const near = (REACH[pointer] ?? REACH.other) * ratio;
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
