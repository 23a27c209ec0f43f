"""Do boxes depend on the thickness of the slices? Abdomens of `bodyval` and one whole abdomen, thinned to 6 to 12 mm.

    python benchmarks/localize/body/thick_slices.py [--ct ../shared/ct] [--json FILE]

Templates: the upper abdomens of `bodyval/templates` (without `ts_example_ct`, the query of the whole abdomen). Each
query is located as it is, with slices averaged to about 6, 8, 10 and 12 mm, and with every n-th slice taken to 8 mm.
Prints the mean wall distance to the label's box and the share called found, over all structures of all queries.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, options, progress
from medlsam.geometry import Grid, mask_box
from medlsam.io.label_names import read_label_names
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.volume import Image

WHOLE = "ts_example_ct"
WAYS = ("as it is", "mean 6 mm", "mean 8 mm", "mean 10 mm", "mean 12 mm", "every n-th, 8 mm")


def thinned(scan: Image, way: str) -> Image:
    """The scan with thicker slices, or fewer."""
    if way == "as it is":
        return scan
    wanted = float(way.split()[-2])
    times = max(1, round(wanted / scan.grid.spacing_xyz[2]))
    count = len(scan.array) // times
    sx, sy, sz = scan.grid.spacing_xyz
    blocks = scan.array[: count * times].reshape(count, times, *scan.array.shape[1:])
    if way.startswith("mean"):
        array, first = np.rint(blocks.mean(axis=1)).astype(np.int16), (times - 1) / 2
    else:
        array, first = np.ascontiguousarray(blocks[:, 0]), 0.0
    x, y, z = (float(v) for v in scan.grid.ijk_to_lps([0, 0, first]))
    return Image(array, Grid(array.shape, (sx, sy, sz * times), (x, y, z), scan.grid.direction))


def queries(ct: Path) -> dict[str, tuple[Path, Path, Path]]:
    """Scan, labels and their names."""
    body, bodyval = ct / "body" / WHOLE, ct / "bodyval"
    found = {WHOLE: (body / "image.nii.gz", body / "labels.nii.gz", body / "labels.json")}
    for labels in sorted((bodyval / "labelsTr").glob("*.nii.gz")):
        name = labels.name.removesuffix(".nii.gz")
        found[name] = (bodyval / "imagesTr" / f"{name}_0000.nii.gz", labels, bodyval / "dataset.json")
    return found


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__).parse_args()
    folder = arguments.ct / "bodyval" / "templates"
    model = medlsam.load(localizer=arguments.localizer, device=arguments.device)
    names = [
        file.name.removesuffix("_0000.nii.gz")
        for file in sorted((folder / "imagesTr").iterdir())
        if not file.name.startswith(WHOLE)
    ]
    templates = model.templates(folder, cases=names)
    walls: dict[str, list[float]] = defaultdict(list)
    found: dict[str, list[bool]] = defaultdict(list)
    for name, (image, labels, table) in queries(arguments.ct).items():
        progress(name)
        scan, drawn = read_image(image), read_label_map(labels)
        values = {structure: value for value, structure in read_label_names(table).items()}
        for way in WAYS:
            located = model.localize(thinned(scan, way), templates)
            for structure, answered in located.structures.items():
                mask = drawn.array == values.get(structure, -1)
                if mask.any() and answered.box is not None:
                    walls[way].append(answered.box.wall_distance(mask_box(mask, drawn.grid)))
                    found[way].append(answered.status == "found")
    rows = Table(title=f"templates {', '.join(names)}")
    for column in ("slices", "wall, mm", "worst", "found", "n"):
        rows.add_column(column, justify="left" if column == "slices" else "right")
    for way in WAYS:
        mm = np.asarray(walls[way])
        rows.add_row(
            way,
            f"{mm.mean():.1f} ± {mm.std():.1f}",
            f"{mm.max():.1f}",
            f"{np.mean(found[way]):.0%}",
            str(len(mm)),
        )
    answer([rows], {way: {"wall_mm": walls[way], "found": found[way]} for way in WAYS}, arguments.json)


if __name__ == "__main__":
    command(main)
