"""A mask as a trimmed block of the canonical grid: small enough to keep one for each step of a history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.geometry import Box, Grid, tight_slices

Mask3 = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MaskPart:
    """A mask where it has voxels; outside of the block it has none.

    Attributes:
        origin_zyx: index of the block's first voxel in the canonical array.
        array: (dz, dy, dx), each of its six sides with a voxel; (0, 0, 0) where the mask is empty.
    """

    origin_zyx: tuple[int, int, int]
    array: Mask3

    @classmethod
    def of(cls, array: Mask3, origin_zyx: Sequence[int] = (0, 0, 0)) -> MaskPart:
        """Trim a mask (Z, Y, X) whose first voxel has an index on the canonical grid; the voxels are copied."""
        part = tight_slices(array)
        if not part[0].stop:
            return cls((0, 0, 0), np.zeros((0, 0, 0), bool))
        z, y, x = (int(first) + span.start for first, span in zip(origin_zyx, part, strict=True))
        own = array[part].copy()
        own.setflags(write=False)
        return cls((z, y, x), own)

    @property
    def end_zyx(self) -> tuple[int, int, int]:
        """Index after the last voxel."""
        z, y, x = (start + n for start, n in zip(self.origin_zyx, self.array.shape, strict=True))
        return (z, y, x)

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.array))

    def window(self, low_zyx: Sequence[int], high_zyx: Sequence[int]) -> Mask3:
        """Copy the voxels from one index to before another, (dz, dy, dx)."""
        found = np.zeros(np.subtract(high_zyx, low_zyx), bool)
        start, stop = np.maximum(low_zyx, self.origin_zyx), np.minimum(high_zyx, self.end_zyx)
        if (start < stop).all():
            found[_slices(start - low_zyx, stop - low_zyx)] = self.array[
                _slices(start - self.origin_zyx, stop - self.origin_zyx)
            ]
        return found

    def with_window(self, low_zyx: Sequence[int], window: Mask3) -> MaskPart:
        """The mask with other voxels in a window that begins at an index."""
        high = np.add(low_zyx, window.shape)
        first = np.minimum(low_zyx, self.origin_zyx) if self.array.size else np.asarray(low_zyx)
        last = np.maximum(high, self.end_zyx) if self.array.size else high
        whole = self.window(first.tolist(), last.tolist())
        whole[_slices(low_zyx - first, high - first)] = window
        return MaskPart.of(whole, first.tolist())

    def on(self, grid: Grid) -> Mask3:
        """The whole array (Z, Y, X) of a canonical grid."""
        return self.window((0, 0, 0), grid.shape_zyx)

    def box(self, grid: Grid) -> Box | None:
        """The tight box as voxel extents, LPS mm; None where the mask is empty."""
        if not self.array.size:
            return None
        ends = np.array([self.origin_zyx, self.end_zyx])[:, ::-1] - 0.5
        low, high = grid.ijk_to_lps(ends)
        return Box(tuple(low.tolist()), tuple(high.tolist()))

    def minus(self, other: MaskPart) -> MaskPart:
        """The voxels that another mask does not have."""
        if not self.array.size:
            return self
        return MaskPart.of(self.array & ~other.window(self.origin_zyx, self.end_zyx), self.origin_zyx)


EMPTY = MaskPart((0, 0, 0), np.zeros((0, 0, 0), bool))


def changed_slices(before: MaskPart, after: MaskPart) -> tuple[int, ...]:
    """Numbers of the axial slices in which two masks differ."""
    both = [own for own in (before, after) if own.array.size]
    if not both or before is after:
        return ()
    low = np.min([own.origin_zyx for own in both], axis=0).tolist()
    high = np.max([own.end_zyx for own in both], axis=0).tolist()
    differs = (before.window(low, high) != after.window(low, high)).any(axis=(1, 2))
    return tuple(int(z) + low[0] for z in np.flatnonzero(differs))


def union(one: Box | None, other: Box | None) -> Box | None:
    """The box around two boxes, LPS mm; the other where one is None."""
    if one is None or other is None:
        return one or other
    low, high = np.minimum(one.min, other.min), np.maximum(one.max, other.max)
    return Box(tuple(low.tolist()), tuple(high.tolist()))


def _slices(low: ArrayLike, high: ArrayLike) -> tuple[slice, ...]:
    ends = zip(np.asarray(low).tolist(), np.asarray(high).tolist(), strict=True)
    return tuple(slice(int(first), int(last)) for first, last in ends)
