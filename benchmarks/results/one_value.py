"""How much of a scan has one single value of tissue? What `medlsam/volume/field_of_view.py` takes for padding.

    python benchmarks/results/one_value.py [--ct ../shared/ct] [--json FILE]

Reads every scan of `openkbp`, `body`, `body2` and `bodyval` and prints the largest share of voxels that have the same
whole HU above -300, the share of scans without any air, and how many scans the reader warned of.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options
from medlsam.errors import VolumeError
from medlsam.io.read import read_image
from medlsam.runtime.log_notes import log_notes

FOLDERS = ("openkbp/imagesTr", "body", "body2", "bodyval/imagesTr")


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__).parse_args()
    rows: list[dict[str, Any]] = []
    for folder in FOLDERS:
        for file in sorted((arguments.ct / folder).rglob("*.nii.gz")):
            if file.name == "labels.nii.gz":
                continue
            try:
                with log_notes() as notes:
                    array = read_image(file).array[::2, ::2, ::2]
            except VolumeError as error:
                rows.append({"file": str(file), "refused": str(error)})
                continue
            values, counts = np.unique(np.rint(array), return_counts=True)
            share = float(counts[values > -300].max() / array.size)
            rows.append({"file": str(file), "share": share, "lowest": float(values[0]), "notes": list(notes)})
    read = [row for row in rows if "share" in row]
    table = Table(title=f"{len(read)} scans read, {len(rows) - len(read)} refused")
    for column in (
        "largest share of one value",
        "its mean",
        "darkest voxel of the brightest scan",
        "scans warned of",
    ):
        table.add_column(column, justify="right")
    shares = [row["share"] for row in read]
    lowest = max(row["lowest"] for row in read)
    table.add_row(
        f"{max(shares):.1%}",
        f"{np.mean(shares):.1%}",
        f"{lowest:g} HU",
        str(sum(bool(row["notes"]) for row in read)),
    )
    answer([table], {"scans": rows}, arguments.json)


if __name__ == "__main__":
    command(main)
