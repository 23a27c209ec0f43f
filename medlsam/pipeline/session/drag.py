"""A dragged face acts near itself: which slices are segmented anew, with which boxes, and what stays as it was.

A face that is dragged says where the structure ends on that side, and nothing of the others. So only a zone behind the
face is made anew: the slice boxes are stretched there, and slices that do not reach into it are not looked at again. A
face that is dragged outward only adds to the mask, one that is dragged inward only takes away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box, Grid
from medlsam.pipeline.session.mask import Mask3, MaskPart
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, index_box, oracle_slices, wpl

_MOVED_MM = 1e-3


@dataclass(frozen=True)
class FaceRule:
    """How far a dragged face acts. Chosen on training scans (record 0073).

    Attributes:
        zone: depth behind the face in which the mask is made anew, in distances that it was dragged.
        least_mm: the same, mm, at least.
        most: the same, in depths of what the old box and the new have in common, at most.
        seam_mm: the inner part of the zone, in which the new mask passes into the old one.
        overlap: boxes that share less of their union are a new place: all is segmented anew.
    """

    zone: float = 1.0
    least_mm: float = 5.0
    most: float = 0.5
    seam_mm: float = 4.0
    overlap: float = 0.5


RULE = FaceRule()


@dataclass(frozen=True, eq=False)
class Drag:
    """The change from one box to another, on a canonical grid.

    Attributes:
        old: (2, 3) low and high corner, x, y, z, continuous indices.
        new: the same.
        inner: (2, 3) where the zones behind the low and the high faces end; minus and plus infinity at faces that did
            not move.
        seam: (2, 3) width of the seams at the inner ends of the zones, in voxels.
    """

    old: NDArray[np.float64]
    new: NDArray[np.float64]
    inner: NDArray[np.float64]
    seam: NDArray[np.float64]

    @classmethod
    def between(cls, old: Box, new: Box, grid: Grid, rule: FaceRule = RULE) -> Drag | None:
        """Compare two boxes, LPS mm; None where they have so little in common that nothing of the mask stays."""
        shared = old.intersection(new)
        if shared is None or old.iou(new) < rule.overlap:
            return None
        before, after, both = (index_box(box, grid) for box in (old, new, shared))
        spacing = np.array(grid.spacing_xyz)
        moved = np.abs(after - before) * spacing
        deep = np.maximum(rule.zone * moved, rule.least_mm) / spacing
        deep = np.minimum(deep, rule.most * (both[1] - both[0]))
        inner = np.where(moved > _MOVED_MM, both + deep * [[1], [-1]], [[-np.inf], [np.inf]])
        return cls(before, after, inner, np.maximum(np.minimum(rule.seam_mm / spacing, deep), 1e-3))

    def weight(
        self, axis: int, places: NDArray[np.float64], outward: bool | None = None
    ) -> NDArray[np.float32]:
        """How much the new mask counts at places along an axis.

        Args:
            axis: 0 for x.
            places: continuous indices.
            outward: in the zones of faces that were dragged outward, or inward; None for both.

        Returns:
            0 to 1, for each place.
        """
        (low, high), (low_seam, high_seam) = self.inner[:, axis], self.seam[:, axis]
        (old_low, old_high), (new_low, new_high) = self.old[:, axis], self.new[:, axis]
        low = low if outward is None or outward is bool(new_low < old_low) else -np.inf
        high = high if outward is None or outward is bool(new_high > old_high) else np.inf
        deep = np.maximum((low - places) / low_seam, (places - high) / high_seam)
        return np.asarray(np.clip(deep, 0, 1), np.float32)

    def moved(self, axis: int, places: NDArray[np.float64], back: bool = False) -> NDArray[np.float64]:
        """Move places along with the faces of an axis; ``back`` from the new box to the old one."""
        knots = [
            (self.old[end, axis], self.new[end, axis])
            if np.isinf(self.inner[end, axis]) or step == end
            else (self.inner[end, axis],) * 2
            for end, step in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        source, target = np.array(knots).T[:: -1 if back else 1]
        return np.asarray(np.interp(places, source, target))

    def prompts(self, mask: MaskPart, box: Box, grid: Grid) -> list[SlicePrompt]:
        """Prompts for the slices that reach into a zone: the boxes of the mask's slices, stretched there.

        Args:
            mask: the structure in the old box.
            box: the new box, LPS mm.
            grid: canonical grid.
        """
        seen = {own.z: own.box_xyxy for own in oracle_slices(mask.array, mask.origin_zyx)}
        numbers = np.array(sorted(seen))
        found = []
        for whole in wpl(box, grid):
            at = np.array([float(whole.z)])
            near = self.weight(2, at).item() > 0
            if not near and whole.z not in seen:
                continue
            place = self.moved(2, at, back=True).item()
            own = seen[int(numbers[np.abs(numbers - place).argmin()])] if near else seen[whole.z]
            x, y = (np.array([own[axis], own[axis + 2]]) for axis in (0, 1))
            if not near and not (self.weight(0, x).any() or self.weight(1, y).any()):
                continue
            found.append(
                replace(whole, box_xyxy=_clipped(self.moved(0, x), self.moved(1, y), whole.box_xyxy))
            )
        return found

    def blended(
        self, mask: MaskPart, block: MaskBlock | None, slices: Collection[int]
    ) -> tuple[MaskBlock, Mask3]:
        """Put new probabilities into a mask, in the zones and in the slices that were segmented.

        Args:
            mask: the present one.
            block: new probabilities; None where no slice was segmented.
            slices: numbers of the slices that were.

        Returns:
            Probabilities, not cut by the new box, and which of their voxels stayed in the mask as they were.
        """
        whole = MaskBlock(mask.origin_zyx, mask.array.astype(np.float32))
        if block is None:
            return whole, mask.array
        low = np.minimum(mask.origin_zyx, block.origin_zyx).tolist() if mask.array.size else block.origin_zyx
        high = np.maximum(mask.end_zyx, block.end_zyx).tolist()
        before = mask.window(low, high)
        new = np.zeros(before.shape, np.float32)
        first = np.subtract(block.origin_zyx, low)
        new[tuple(slice(a, a + n) for a, n in zip(first, block.probability.shape, strict=True))] = (
            block.probability
        )
        grows, shrinks = (self._weights(low, high, slices, outward) for outward in (True, False))
        new = np.where((grows > 0) & (shrinks == 0), np.maximum(new, before), new)
        new = np.where((shrinks > 0) & (grows == 0), np.minimum(new, before), new)
        weight = np.maximum(grows, shrinks)
        whole = MaskBlock((low[0], low[1], low[2]), weight * new + (1 - weight) * before)
        return whole, before & (weight == 0)

    def _weights(
        self, low_zyx: Sequence[int], high_zyx: Sequence[int], slices: Collection[int], outward: bool
    ) -> NDArray[np.float32]:
        """``weight`` in a block of voxels, 0 in slices that were not segmented."""
        z, y, x = (
            self.weight(2 - axis, np.arange(low_zyx[axis], high_zyx[axis], dtype=float), outward)
            for axis in range(3)
        )
        found = np.maximum(np.maximum(z[:, None, None], y[None, :, None]), x[None, None, :])
        found[~np.isin(np.arange(low_zyx[0], high_zyx[0]), list(slices))] = 0
        return np.asarray(found, np.float32)


def _clipped(
    x: NDArray[np.float64], y: NDArray[np.float64], whole_xyxy: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """A slice box inside of the box around all; that one where nothing is left."""
    x0, y0, x1, y1 = whole_xyxy
    (left, right), (top, bottom) = np.clip(x, x0, x1).tolist(), np.clip(y, y0, y1).tolist()
    return whole_xyxy if right - left < 1 or bottom - top < 1 else (left, top, right, bottom)
