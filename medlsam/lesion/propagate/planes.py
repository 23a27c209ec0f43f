"""The part of a scan around a lesion, and single slices of probabilities in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from medlsam.geometry import filled, tight_slices
from medlsam.segment.label_map import MaskBlock
from medlsam.volume import Image

#: A lesion may grow by this share of its key slice's box to each side, and by so many mm at least.
MARGIN, MARGIN_MM = 0.75, 25.0


@dataclass(frozen=True)
class Region:
    """The part of a canonical scan that a lesion may fill.

    Attributes:
        origin_zyx: its first voxel.
        shape_zyx: its size.
        key: index of the key slice in it.
    """

    origin_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]
    key: int

    def cut(self, array: NDArray[np.generic], z: int) -> NDArray[np.generic]:
        """Cut slice ``z`` of the region out of a scan's array: (rows, columns), a view."""
        first, y, x = self.origin_zyx
        return array[first + z, y : y + self.shape_zyx[1], x : x + self.shape_zyx[2]]

    def plane_of(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut the region out of a whole slice."""
        _, y, x = self.origin_zyx
        return plane[y : y + self.shape_zyx[1], x : x + self.shape_zyx[2]]

    def plane_in(self, block: MaskBlock, z: int) -> NDArray[np.float32]:
        """Cut slice ``z`` of the scan out of a block, in the region's rows and columns; 0 outside of the block."""
        _, y, x = self.origin_zyx
        found = block.window(z, (x, y, x + self.shape_zyx[2], y + self.shape_zyx[1]))
        return np.zeros(self.shape_zyx[1:], np.float32) if found is None else found

    def connected(self, whole: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keep, of what is at 0.5 or above, the part that holds the key slice's mask."""
        mask = whole >= 0.5
        seed = np.zeros_like(mask)
        seed[self.key] = mask[self.key]
        return np.where(connected_to(mask, seed) | ~mask, whole, 0).astype(np.float32)

    def block(self, whole: NDArray[np.float32]) -> MaskBlock:
        """Make a block of the region's probabilities, with the part at 0.5 or above that holds the key slice's."""
        kept = self.connected(whole)
        z, y, x = tight_slices(kept >= 0.5)
        origin = tuple(a + span.start for a, span in zip(self.origin_zyx, (z, y, x), strict=True))
        return MaskBlock((origin[0], origin[1], origin[2]), kept[z, y, x])


def region_around(mask: NDArray[np.bool_], z: int, volume: Image, reach_mm: float) -> Region:
    """Bound where a lesion may be, by its mask (rows, columns) on the key slice."""
    spacing = volume.grid.spacing_xyz[::-1]
    low, high = [max(0, z - math.ceil(reach_mm / spacing[0]))], [z + math.ceil(reach_mm / spacing[0]) + 1]
    for axis in (0, 1):
        span = filled(mask, axis)
        margin = max(MARGIN * len(span), MARGIN_MM / spacing[axis + 1])
        low.append(max(0, math.floor(span[0] - margin)))
        high.append(math.ceil(span[-1] + 1 + margin))
    sizes = [min(b, n) - a for a, b, n in zip(low, high, volume.array.shape, strict=True)]
    return Region((low[0], low[1], low[2]), (sizes[0], sizes[1], sizes[2]), z - low[0])


def in_plane(block: MaskBlock, z: int, shape_hw: Sequence[int]) -> NDArray[np.float32]:
    """Take a whole slice (rows, columns) out of a block; 0 outside of it."""
    rows, columns = shape_hw
    found = block.window(z, (0, 0, columns, rows))
    return np.zeros((rows, columns), np.float32) if found is None else found


def tight_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the tight box of a mask (rows, columns), not empty: x0, y0, x1, y1, outer edges of its pixels."""
    rows, columns = filled(mask, 0), filled(mask, 1)
    return (float(columns[0]) - 0.5, float(rows[0]) - 0.5, float(columns[-1]) + 0.5, float(rows[-1]) + 0.5)


def connected_to(mask: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the parts of a mask that touch a seed, of any dimension; neighbours share a face."""
    numbered, _ = label(mask)
    numbers = np.unique(numbered[seed & mask])
    return np.asarray(np.isin(numbered, numbers[numbers > 0]))
