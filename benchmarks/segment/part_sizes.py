"""How large the parts of labels are: stray voxels, and parts that somebody would miss.

    python benchmarks/segment/part_sizes.py [--json FILE]

For every label of openkbp and of `body/` that is not one connected part (26 neighbours): the size of each further part
as a share of the largest one. Then the same of labels that are joined to one: both lungs, both kidneys, all ribs, both
hips. `body/ts_example_dicom` is a slab that cuts most structures. Takes about half a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.io.labels import read_label_map
from medlsam.volume.components import large_components

#: Beginnings of the names that are joined.
JOINED = ("lung_", "kidney_", "rib_", "hip_", "gluteus_maximus_")


def shares(mask: NDArray[np.bool_]) -> list[float]:
    """Sizes of all parts but the largest, in parts of it, from large to small."""
    sizes = [int(part.sum()) for part in large_components(mask, 0.0)]
    return [round(size / sizes[0], 4) for size in sizes[1:]]


def main() -> None:
    arguments = options(__doc__).parse_args()
    rows: list[dict[str, Any]] = []
    heads = json.loads((arguments.ct / "openkbp" / "dataset.json").read_text())["labels"]
    files = [(path, heads) for path in sorted((arguments.ct / "openkbp" / "labelsTr").glob("*.nii.gz"))]
    for path in sorted((arguments.ct / "body").glob("*/labels.nii.gz")):
        files.append((path, json.loads((path.parent / "labels.json").read_text())))
    for path, names in files:
        labels = read_label_map(path).array
        scan = _scan(path)
        present = {name: value for name, value in names.items() if value and (labels == value).any()}
        for name, value in present.items():
            if found := shares(labels == value):
                rows.append({"scan": scan, "label": name, "parts": found})
        for start in JOINED:
            values = [value for name, value in present.items() if name.startswith(start)]
            if len(values) > 1:
                found = shares(np.isin(labels, values))
                rows.append({"scan": scan, "label": f"all {start}*", "parts": found})
    table = Table(title="further parts, as shares of the largest")
    for head in ("scan", "label", "parts"):
        table.add_column(head)
    for row in rows:
        table.add_row(row["scan"], row["label"], " ".join(f"{share:.3f}" for share in row["parts"]))
    answer([table], {"rows": rows}, arguments.json)


def _scan(path: Path) -> str:
    return path.parent.name if path.name == "labels.nii.gz" else path.name.removesuffix(".nii.gz")


if __name__ == "__main__":
    command(main)
