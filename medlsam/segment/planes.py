"""Axial, coronal and sagittal slices of a scan, and the vote of the masks found in each plane.

A scan turned so that another axis comes first is a scan like any other: a grid of identity direction whose x, y
and z are other axes of the patient. Prompts, segmenters and boxes need no special case; this file turns scans,
boxes and masks there and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box, Grid, tight_slices
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, profile, wpl
from medlsam.volume import Image

# The outline of a mean mask encloses the voxels that half of the templates or more share.
_OUTLINE = 0.5


@dataclass(frozen=True)
class Plane:
    """An orientation of slices in a scan.

    Attributes:
        name: ``coronal`` or ``sagittal``.
        order: the axes of (Z, Y, X) that become slices, rows and columns.
    """

    name: str
    order: tuple[int, int, int]

    def array(self, array: NDArray[Any]) -> NDArray[Any]:
        """Transpose (Z, Y, X) to (slices, rows, columns); a view."""
        return array.transpose(self.order)

    def volume(self, volume: Image) -> Image:
        """Turn a canonical scan so that its slices lie in this plane."""
        return volume.derived(self.array(volume.array), self.grid(volume.grid))

    def grid(self, grid: Grid) -> Grid:
        """Turn a canonical grid so that its z is the patient's axis across this plane."""
        z, y, x = (grid.shape_zyx[axis] for axis in self.order)
        spacing, origin = self._xyz(grid.spacing_xyz), self._xyz(grid.origin_xyz)
        return Grid((z, y, x), spacing, origin, grid.direction)

    def box(self, box: Box) -> Box:
        """Turn a box (LPS mm) into the coordinates of the turned grid."""
        return Box(self._xyz(box.min), self._xyz(box.max))

    def back(self, block: MaskBlock) -> MaskBlock:
        """Turn a block of the turned scan back into the scan itself."""
        inverse = np.argsort(self.order)
        z, y, x = (block.origin_zyx[axis] for axis in inverse)
        return MaskBlock((z, y, x), np.ascontiguousarray(block.probability.transpose(inverse)))

    def _xyz(self, vector: tuple[float, float, float]) -> tuple[float, float, float]:
        z, y, x = (vector[::-1][axis] for axis in self.order)
        return (x, y, z)


#: The planes beside the axial one; in both, rows follow z.
SIDES = (Plane("coronal", (1, 0, 2)), Plane("sagittal", (2, 0, 1)))


def side_prompts(
    box: Box, shape_prior: NDArray[np.floating] | None, grid: Grid, plane: Plane, margin_mm: float = 0.0
) -> list[SlicePrompt]:
    """Make one box for each slice of a located structure in another plane.

    Args:
        box: as located, LPS mm.
        shape_prior: (D, H, W) the templates' mean mask in the box; its outline scales the box in each slice. None
            gives the same box on all slices.
        grid: canonical grid of the scan.
        plane: orientation of the slices.
        margin_mm: added to each side within the slice.
    """
    turned = plane.box(box).expand((margin_mm,) * 4 + (0.0, 0.0))
    rows = np.zeros((0, 5)) if shape_prior is None else outline(plane.array(shape_prior))
    if not len(rows):
        return wpl(turned, plane.grid(grid))
    return profile(turned, rows, plane.grid(grid))


def outline(mean_mask: NDArray[Any]) -> NDArray[np.float64]:
    """Compute the profile of a mean mask: its slice-by-slice boxes as fractions of the whole box.

    Args:
        mean_mask: (D, H, W) 0 to 1 over the structure's box.

    Returns:
        (S, 5) rows ``t, x0, y0, x1, y1`` for ``prompts.profile``, one for each slice that contains the structure; no
        rows where the mean mask reaches one half nowhere.
    """
    depth, height, width = mean_mask.shape
    rows = []
    for index, plane in enumerate(mean_mask >= _OUTLINE):
        if plane.any():
            y, x = tight_slices(plane)
            edges = (x.start / width, y.start / height, x.stop / width, y.stop / height)
            rows.append(((index + 0.5) / depth, *edges))
    return np.array(rows, dtype=float).reshape(-1, 5)


def vote(blocks: Sequence[MaskBlock], weights: Sequence[float]) -> MaskBlock:
    """Average several probabilities of one structure, weighted; outside of a block its probability is 0.

    Args:
        blocks: probabilities of one structure in one scan.
        weights: one for each block; only their ratios count.
    """
    kept = [(block, weight) for block, weight in zip(blocks, weights, strict=True) if block.probability.size]
    if not kept:
        return blocks[0]
    low = np.min([block.origin_zyx for block, _ in kept], axis=0)
    high = np.max([block.end_zyx for block, _ in kept], axis=0)
    total = np.zeros(high - low, dtype=np.float32)
    for block, weight in kept:
        place = tuple(
            slice(int(a), int(b)) for a, b in zip(block.origin_zyx - low, block.end_zyx - low, strict=True)
        )
        total[place] += np.float32(weight / sum(weights)) * block.probability
    z, y, x = (int(n) for n in low)
    return MaskBlock((z, y, x), total)
