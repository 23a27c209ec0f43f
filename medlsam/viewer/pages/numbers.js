// The numbers beside a structure, in words.

const SHOWN = [
  ["volume_ml", "volume", "ml"],
  ["mean_hu", "mean", "HU"],
  ["std_hu", "standard deviation", "HU"],
  ["long_axial_mm", "longest axial diameter", "mm"],
  ["short_axial_mm", "across", "mm"],
  ["height_mm", "height", "mm"],
];

export function numbersOf(entry) {
  const rows = [
    ["status", entry.status.replaceAll("_", " ")],
    ["confidence", entry.confidence.toFixed(2)],
  ];
  if (entry.expected_error_mm !== null) rows.push(["expected error of a face", `${entry.expected_error_mm.toFixed(1)} mm`]);
  for (const [key, name, unit] of SHOWN) {
    const value = Number(entry.numbers[key]);
    if (entry.numbers[key]) rows.push([name, `${value.toFixed(Math.abs(value) < 10 ? 1 : 0)} ${unit}`]);
  }
  return rows;
}
