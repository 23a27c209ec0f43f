// Extreme points over a slice, and what a dragged face does to a box.

const LETTERS = ["x", "y", "z"];

// The name of a face: {axis: 2, high: true} is z+.
export const faceOf = ({ axis, high }) => `${LETTERS[axis]}${high ? "+" : "-"}`;

// The box with one face at another place; a face does not pass the opposite one.
export function moved(box, { axis, high }, position) {
  const made = { min: [...box.min], max: [...box.max] };
  if (high) made.max[axis] = Math.max(position, box.min[axis]);
  else made.min[axis] = Math.min(position, box.max[axis]);
  return made;
}

// Points in this slice are filled; those of other slices are rings, smaller the further away.
export function drawPoints(view, context, marks, colour, ratio) {
  const { cut } = view.view;
  const step = view.geometry.spacing[cut];
  for (const point of [...Object.values(marks.faces), ...marks.loose]) {
    const away = Math.abs(point[cut] - view.place);
    const [x, y] = view.toCanvas(view.toPixel(point));
    context.strokeStyle = colour;
    context.fillStyle = colour;
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.arc(x, y, (away <= step / 2 ? 5 : Math.max(4 - away / 20, 1.5)) * ratio, 0, 2 * Math.PI);
    if (away <= step / 2 + 1e-6) context.fill();
    else context.stroke();
  }
}
