"""Probabilities of single structures, and their assembly into one label map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box, Grid, tight_slices
from medlsam.options import LabelMapOptions
from medlsam.segment.prompts import covered, index_box
from medlsam.volume.components import largest_components

Labels = NDArray[np.uint8] | NDArray[np.uint16]
_DEFAULT = LabelMapOptions()


@dataclass(frozen=True, eq=False)
class MaskBlock:
    """The probability of one structure in a part of the scan; outside of the block it is 0.

    Attributes:
        origin_zyx: index of the block's first voxel in the canonical array.
        probability: (dz, dy, dx) float32, 0 to 1.
    """

    origin_zyx: tuple[int, int, int]
    probability: NDArray[np.float32]

    @property
    def end_zyx(self) -> tuple[int, int, int]:
        """Index after the block's last voxel."""
        z, y, x = (start + n for start, n in zip(self.origin_zyx, self.probability.shape, strict=True))
        return (z, y, x)

    def window(self, z: int, window_xyxy: tuple[int, int, int, int]) -> NDArray[np.float32] | None:
        """Cut a window out of one slice.

        Args:
            z: slice index of the canonical array.
            window_xyxy: first and after-last column and row of the canonical array: x0, y0, x1, y1.

        Returns:
            (rows, columns) probabilities, 0 outside of the block; None where the block lacks the slice.
        """
        (first, top, left), (end, bottom, right) = self.origin_zyx, self.end_zyx
        if not first <= z < end:
            return None
        x0, y0, x1, y1 = window_xyxy
        found = np.zeros((y1 - y0, x1 - x0), np.float32)
        a, b, c, d = max(top, y0), min(bottom, y1), max(left, x0), min(right, x1)
        if a < b and c < d:
            found[a - y0 : b - y0, c - x0 : d - x0] = self.probability[
                z - first, a - top : b - top, c - left : d - left
            ]
        return found


def assemble(
    blocks: Mapping[str, MaskBlock],
    values: Mapping[str, int],
    shape_zyx: tuple[int, ...],
    options: LabelMapOptions = _DEFAULT,
    parts: Mapping[str, int] | None = None,
) -> Labels:
    """Assemble one label map of all structures.

    Each structure keeps as many connected components (26 neighbours) at or above ``threshold`` as it has in the
    templates, the largest ones. Where two structures overlap, the more probable one gets the voxel, the first of the
    mapping where both are equal; components that this cuts off are removed too.

    Args:
        blocks: structure to probability.
        values: structure to label value, 1 to 65535.
        shape_zyx: of the canonical array.
        options: ``components="largest"`` keeps one component of each structure, ``"all"`` every one;
            ``overlaps="order"`` gives a voxel of two structures to the later of the mapping, as the original method
            writes one mask over another.
        parts: structure to its number of components in the templates; 1 where absent.

    Returns:
        (Z, Y, X) labels, uint8 where the largest of ``values`` allows, else uint16.

    Raises:
        UsageError: a structure without a value, or a value out of range.
        GeometryError: a block extends outside of the array.
    """
    for name, block in blocks.items():
        if name not in values:
            raise UsageError(f"{name}: no label value; values are given for {', '.join(values) or 'nothing'}")
        if min(block.origin_zyx) < 0 or (np.array(block.end_zyx) > shape_zyx).any():
            raise GeometryError(
                f"{name}: block {block.origin_zyx} to {block.end_zyx} leaves the scan of {tuple(shape_zyx)}"
            )
    if any(not 1 <= value <= 65535 for value in values.values()):
        raise UsageError(f"label values must be 1 to 65535, got {dict(values)}")
    dtype = np.uint8 if max(values.values(), default=0) <= 255 else np.uint16
    labels: Labels = np.zeros(shape_zyx, dtype=dtype)  # type: ignore[assignment]
    # Crops are several times as large as the structures in them.
    blocks = {name: trimmed(block, options.threshold) for name, block in blocks.items()}
    blocks = {name: block for name, block in blocks.items() if block.probability.size}
    if not blocks:
        return labels

    # The best probability so far is kept only where there are blocks: a whole scan of floats is large.
    low = np.min([block.origin_zyx for block in blocks.values()], axis=0)
    high = np.max([block.end_zyx for block in blocks.values()], axis=0)
    best = np.zeros(high - low, dtype=np.float32)
    claimed = {}
    counts = _counts(blocks, options.components, parts or {})
    for name, block in blocks.items():
        mask = block.probability >= options.threshold
        if name in counts:
            mask = largest_components(mask, counts[name])
        claimed[name] = int(mask.sum())
        inner = _region(block, low)
        if options.overlaps == "probability":
            mask &= (block.probability > best[inner]) | (labels[_region(block)] == 0)
        best[inner][mask] = block.probability[mask]
        labels[_region(block)][mask] = values[name]
    for name, count in counts.items():
        part = labels[_region(blocks[name])]
        mask = part == values[name]
        if 0 < mask.sum() < claimed[name]:
            part[mask & ~largest_components(mask, count)] = 0
    return labels


def trimmed(block: MaskBlock, threshold: float) -> MaskBlock:
    """Trim a block to the voxels at or above ``threshold``; a view, empty where there are none."""
    box = tight_slices(block.probability >= threshold)
    z, y, x = (start + span.start for start, span in zip(block.origin_zyx, box, strict=True))
    return MaskBlock((z, y, x), block.probability[box])


def shape_prior_block(box: Box, shape_prior: NDArray[np.floating], grid: Grid) -> MaskBlock:
    """Stretch the templates' mean mask into a box: a rough mask that ignores the scan itself.

    Args:
        box: LPS mm.
        shape_prior: (D, H, W) 0 to 1, voxel centres at (i + 0.5) / n of the box edges.
        grid: canonical grid.

    Returns:
        The voxels whose centres lie in the box, interpolated trilinearly; an empty block where the box lies
        outside of the scan.

    Raises:
        GeometryError: the grid is not canonical.
    """
    low, high = (corner[::-1] for corner in index_box(box, grid))
    spans = [covered(low[axis], high[axis], grid.shape_zyx[axis]) for axis in range(3)]
    if not all(spans):
        return MaskBlock((0, 0, 0), np.zeros((0, 0, 0), dtype=np.float32))
    block = np.asarray(shape_prior, dtype=np.float32)
    for axis, span in enumerate(spans):
        size = high[axis] - low[axis]
        fractions = (np.asarray(span) - low[axis]) / size if size > 0 else np.full(len(span), 0.5)
        block = _linear(block, fractions * block.shape[axis] - 0.5, axis)
    origin = (spans[0].start, spans[1].start, spans[2].start)
    return MaskBlock(origin, np.clip(block, 0.0, 1.0, dtype=np.float32))


def crop_prior(
    shape_prior: NDArray[np.floating], low: tuple[float, ...], high: tuple[float, ...]
) -> NDArray[np.float32]:
    """Cut a part of the box out of a mean mask.

    Args:
        shape_prior: (D, H, W) 0 to 1 over a box.
        low: low corner (x, y, z) of the part, in fractions of the box.
        high: its high corner.

    Returns:
        (D, H, W) over the part, interpolated linearly.
    """
    block = np.asarray(shape_prior, dtype=np.float32)
    for axis, (first, last) in enumerate(zip(low[::-1], high[::-1], strict=True)):
        count = block.shape[axis]
        places = first + (np.arange(count) + 0.5) / count * (last - first)
        block = _linear(block, places * count - 0.5, axis)
    return block


def joined(blocks: Sequence[MaskBlock]) -> MaskBlock:
    """Join the probabilities of a structure's parts; where they overlap, the larger counts."""
    kept = [block for block in blocks if block.probability.size]
    if len(kept) < 2:
        return (kept or list(blocks))[0]
    low = np.min([block.origin_zyx for block in kept], axis=0)
    high = np.max([block.end_zyx for block in kept], axis=0)
    whole = np.zeros(high - low, dtype=np.float32)
    for block in kept:
        place = _region(block, low)
        np.maximum(whole[place], block.probability, out=whole[place])
    z, y, x = (int(n) for n in low)
    return MaskBlock((z, y, x), whole)


def _counts(names: Iterable[str], components: str, parts: Mapping[str, int]) -> dict[str, int]:
    """Map structures to the number of components that they keep; empty where all of them stay."""
    if components == "all":
        return {}
    return {name: parts.get(name, 1) if components == "templates" else 1 for name in names}


def _linear(array: NDArray[np.float32], positions: NDArray[np.float64], axis: int) -> NDArray[np.float32]:
    """Interpolate linearly along one axis at continuous indices, constant beyond the ends."""
    positions = np.clip(positions, 0, array.shape[axis] - 1)
    first = np.floor(positions).astype(int)
    second = np.minimum(first + 1, array.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = (positions - first).astype(np.float32).reshape(shape)
    return np.asarray(array.take(first, axis) * (1 - weight) + array.take(second, axis) * weight)


def _region(block: MaskBlock, origin: NDArray[np.intp] | None = None) -> tuple[slice, ...]:
    """Locate a block in an array that begins at ``origin`` (default: the canonical array itself)."""
    shift = np.zeros(3, dtype=int) if origin is None else origin
    return tuple(
        slice(int(a - s), int(b - s)) for a, b, s in zip(block.origin_zyx, block.end_zyx, shift, strict=True)
    )
