"""The 2D components of labelled scans, which the decoder is trained on and scored by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import filled
from medlsam.segment.finetune.labelled import LabelledScan

#: Smaller 2D components are left out, in training and in scoring (as in the HCUCH paper, table 4).
MIN_PIXELS = 10
_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Component:
    """A connected part of a structure in one axial slice.

    Attributes:
        structure: it is a part of.
        z: slice index of the canonical array.
        number: place among the structure's parts in the slice, 0 the largest.
        low_xy: column and row of its first pixel.
        pixels: (rows, columns) mask within its tight box.
    """

    structure: str
    z: int
    number: int
    low_xy: tuple[int, int]
    pixels: NDArray[np.bool_]

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Its tight box in continuous pixel indices, as in ``SlicePrompt``."""
        (x, y), (rows, columns) = self.low_xy, self.pixels.shape
        return (x - 0.5, y - 0.5, x + columns - 0.5, y + rows - 0.5)

    def mask(self, shape_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """Draw the component as a mask (H, W) of its slice."""
        plane = np.zeros(shape_hw, bool)
        (x, y), (rows, columns) = self.low_xy, self.pixels.shape
        plane[y : y + rows, x : x + columns] = self.pixels
        return plane


def components(scan: LabelledScan, slices: int = 0) -> list[Component]:
    """List the 2D components of a scan's structures with at least ``MIN_PIXELS`` pixels (8 neighbours).

    Args:
        scan: labelled.
        slices: at most so many slices of each structure, evenly spaced; 0 for all.

    Returns:
        By structure, slice and number; none where all are too small.
    """
    found = []
    for value, structure in scan.names.items():
        mask = scan.labels.array == value
        own = {z: parts for z in filled(mask, 0) if (parts := _parts(mask[z]))}
        levels = list(own)
        if 0 < slices < len(levels):
            levels = [levels[int(i)] for i in np.linspace(0, len(levels) - 1, slices).round()]
        found += [Component(structure, int(z), k, *part) for z in levels for k, part in enumerate(own[z])]
    return found


def _parts(plane: NDArray[np.bool_]) -> list[tuple[tuple[int, int], NDArray[np.bool_]]]:
    """List (first column and row, mask) of the large enough parts of a plane (H, W), the largest first."""
    numbered, _ = ndimage.label(plane, structure=_NEIGHBOURS)
    parts = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
        pixels = numbered[rows, columns] == number
        if pixels.sum() >= MIN_PIXELS:
            parts.append(((int(columns.start), int(rows.start)), pixels))
    return sorted(parts, key=lambda part: -int(part[1].sum()))
