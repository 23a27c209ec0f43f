"""Are phantom lesions what they are said to be, and what does drawing them cost?

    python benchmarks/lesion/phantoms.py

Of every kind of lesion: how many were drawn, their true diameters, and how far the drawn mask is off: its volume in
per cent, its longest axial diameter and its short axis in pixels. These are measured by ``medlsam.measure.recist``, of
lesions of at least 4 pixels and 3 slices, so that mask and measure are judged together. Then the lesions of a second
visit: how many stayed, vanished and appeared, and how far they moved. Last the processor seconds of one scan with its
lesions. 24 people at two visits take three minutes of a core that nobody else uses.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.common import answer, command, options, progress, spread
from medlsam.measure.recist import recist_diameters
from medlsam.phantoms.lesions import KINDS, LesionPhantom, lesion_visits

SPACING = (2.0, 2.0, 3.0)
_LEAST_PIXELS, _LEAST_SLICES = 4.0, 3.0


def errors(made: LesionPhantom) -> list[dict[str, Any]]:
    """Of each lesion of a scan, how far its mask is off the truth."""
    grid = made.image.grid
    pixel = max(grid.spacing_xyz[:2])
    found = []
    for lesion in made.lesions:
        mask = made.lesion_labels.array == lesion.id
        entry: dict[str, Any] = {"kind": lesion.kind, "form": lesion.form, "longest_mm": lesion.longest_mm}
        tall = 2 * float(lesion.shape.half_extent()[2]) / grid.spacing_xyz[2]
        if lesion.perpendicular_mm >= _LEAST_PIXELS * pixel and tall >= _LEAST_SLICES:
            entry["volume_percent"] = 100 * (mask.sum() * grid.voxel_ml / lesion.volume_ml - 1)
            own = recist_diameters(mask, grid.spacing_xyz)
            entry["longest_pixels"] = (own.longest_mm - lesion.longest_mm) / pixel
            entry["short_pixels"] = (own.perpendicular_mm - lesion.perpendicular_mm) / pixel
        found.append(entry)
    return found


def main() -> None:
    parser = options(__doc__, real=False)
    parser.add_argument("--people", type=int, default=24, help="each at two visits (%(default)s)")
    parser.add_argument("--lesions", type=int, default=8, help="of each person (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first person (%(default)s)")
    given = parser.parse_args()
    entries: list[dict[str, Any]] = []
    followed: Counter[str] = Counter()
    moved: list[float] = []
    seconds: list[float] = []
    for number in range(given.people):
        start = time.process_time()
        before, after = lesion_visits(given.first + number, 2, given.lesions, spacing_xyz=SPACING)
        seconds.append((time.process_time() - start) / 2)
        entries += errors(before) + errors(after)
        first, second = ({lesion.id: lesion for lesion in made.lesions} for made in (before, after))
        followed["stayed"] += len(first.keys() & second)
        followed["vanished"] += len(first.keys() - second)
        followed["new"] += len(second.keys() - first)
        moved += [math.dist(first[key].center, second[key].center) for key in first.keys() & second]
        progress(f"{number + 1} of {given.people}")
    columns = ("volume_percent", "longest_pixels", "short_pixels")
    table = Table(
        title=f"Phantom lesions, drawn at about {SPACING} mm; error of the mask, mean ±standard deviation"
    )
    for head in (
        "kind",
        "n",
        "longest, mm",
        "measured",
        "volume, %",
        "longest, pixels",
        "short axis, pixels",
    ):
        table.add_column(head, justify="left" if head == "kind" else "right")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        groups[entry["kind"]].append(entry)
        groups[entry["form"]].append(entry)
        groups["all"].append(entry)
    document: dict[str, Any] = {
        "followed": dict(followed),
        "moved_mm": moved,
        "seconds": seconds,
        "kinds": {},
    }
    for name in (*KINDS, "sphere", "ellipsoid", "lobulated", "all"):
        own = groups[name]
        values = {column: [entry[column] for entry in own if column in entry] for column in columns}
        sizes = [entry["longest_mm"] for entry in own]
        within = f"{min(sizes):.0f} to {max(sizes):.0f}" if sizes else "–"
        table.add_row(
            name,
            str(len(own)),
            within,
            str(len(values["volume_percent"])),
            *(spread(values[c]) for c in columns),
        )
        document["kinds"][name] = {"n": len(own), "longest_mm": sizes, **values}
    worst = {c: max((abs(e[c]) for e in entries if c in e), default=math.nan) for c in columns}
    table.caption = (
        f"largest: volume {worst['volume_percent']:.1f} %, longest {worst['longest_pixels']:.2f}, "
        f"short axis {worst['short_pixels']:.2f} pixels. {followed['stayed']} lesions stayed and moved "
        f"{spread(moved, 1)} mm, {followed['vanished']} vanished, {followed['new']} new. "
        f"{spread(seconds, 1)} processor seconds a scan (median {np.median(seconds):.1f})"
    )
    answer([table], document | {"worst": worst}, given.json)


if __name__ == "__main__":
    command(main)
