"""Scans cut along z, and what a cut makes of the structures: absent, halved, or still there as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from medlsam.geometry import Box, Grid
from medlsam.volume import Image

#: What a crop leaves off beyond the structure's own end, and the least that it leaves of the scan, mm.
GAP_MM = 5.0
LEAST_MM = 80.0


@dataclass(frozen=True, eq=False)
class Crop:
    """A scan cut along z for one structure, and what it makes of the structures.

    Attributes:
        name: of what was done.
        volume: what is left.
        truth: structure to ``absent``, ``halved`` or ``present``; structures left unclear are not in it.
    """

    name: str
    volume: Image
    truth: dict[str, str]


def keep_heights(volume: Image, low_mm: float, high_mm: float) -> Image:
    """The slices of a canonical scan whose centres lie between two heights (LPS z, mm)."""
    grid = volume.grid
    spacing, origin = grid.spacing_xyz[2], grid.origin_xyz[2]
    kept = [k for k in range(grid.shape_zyx[0]) if low_mm <= origin + k * spacing <= high_mm]
    start, stop = kept[0], kept[-1] + 1
    x, y, _ = grid.origin_xyz
    place = Grid((stop - start, *grid.shape_zyx[1:]), grid.spacing_xyz, (x, y, origin + start * spacing))
    return Image(volume.array[start:stop], place)


def crops(volume: Image, boxes: Mapping[str, Box], targets: Iterable[str]) -> Iterator[Crop]:
    """For every target a scan without it and one with half of it; in both the end with more to see is kept.

    Args:
        volume: canonical scan.
        boxes: structure to its true box, LPS mm, of the structures that are complete in the scan.
        targets: structures to cut out or halve.
    """
    bottom, top = volume.grid.box.min[2], volume.grid.box.max[2]
    for structure in targets:
        if structure not in boxes:
            continue
        low, high = boxes[structure].min[2], boxes[structure].max[2]
        middle = (low + high) / 2
        for name, below, above in (
            ("without", low - GAP_MM, high + GAP_MM),
            ("half of", middle, middle),
        ):
            first, last = (bottom, below) if below - bottom > top - above else (above, top)
            if last - first < LEAST_MM:
                continue
            cut = keep_heights(volume, first, last)
            seen = cut.grid.box.min[2], cut.grid.box.max[2]
            truth = {
                other: "present"
                for other, box in boxes.items()
                if seen[0] <= box.min[2] and box.max[2] <= seen[1]
            }
            truth[structure] = "absent" if name == "without" else "halved"
            yield Crop(f"{name} {structure}", cut, truth)
