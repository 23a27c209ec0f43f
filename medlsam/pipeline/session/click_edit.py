"""Grow a mask to a click inside, or cut it back to a click outside.

People click in the middle of what is wrong. So the click's distance to the present outline says how large the fault is:
it reaches about as far beyond the click. Within that distance voxels that look like the clicked one follow it (*core*).
Farther along the outline, the segmenter decides: it decodes once more with the clicks as points and the corrected mask
as mask prompt, and voxels follow where it agrees, they look alike, and they hang together with the click. A click only
ever adds (inside) or takes away (outside), and nothing nearer to a click of the other kind than to itself: so clicks
never undo each other, and nothing far away changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Grid
from medlsam.pipeline.session.mask import Mask3, MaskPart
from medlsam.volume import Image

Index = tuple[int, int, int]
#: Asks the segmenter: the mask by the local rule, reach in mm, point reach in mm, window's first voxel and shape.
Ask = Callable[[MaskPart, float, float, Index, tuple[int, ...]], NDArray[np.float32]]


@dataclass(frozen=True)
class ClickRule:
    """How far a click acts. Chosen on training scans (record 0073).

    Attributes:
        core: the part that follows by looks alone, in distances of the click to the outline (of one voxel less, beyond
            the first such distance).
        depth: how far beyond the outline a mask may grow, in these distances.
        along: how far from the click, in these distances.
        most_mm: how far from the click at most.
        lost_mm: the distance that a click counts as where no outline is near.
        similar: HU difference that still looks alike, in robust standard deviations around the click (of averages over
            nine voxels, whose noise is a third).
        least_hu: the same, HU, at least.
        agree: probability from which the segmenter agrees.
        points: slices within so many distances get the click as a point.
        wide: how far from a click inside the core reaches within the slice, in radii of the mask (of a disc with the
            area of its largest slice), at most. A click beyond the end of a thin structure lies far from its outline,
            but what is missing there is no wider than the rest.
        spread: the same of what the segmenter agrees to.
    """

    core: float = 1.7
    depth: float = 2.0
    along: float = 4.0
    most_mm: float = 30.0
    lost_mm: float = 6.0
    similar: float = 1.0
    least_hu: float = 40.0
    agree: float = 0.5
    points: float = 1.0
    wide: float = 1.0
    spread: float = 3.0


RULE = ClickRule()


def apply_click(
    volume: Image,
    mask: MaskPart,
    click_zyx: Index,
    inside: bool,
    opposite: Sequence[Index],
    ask: Ask | None,
    rule: ClickRule = RULE,
) -> MaskPart:
    """Change a mask so that the clicked voxel is in, or out.

    Args:
        volume: canonical scan, HU.
        mask: the present one.
        click_zyx: the clicked voxel.
        inside: whether it belongs to the structure.
        opposite: voxels of earlier clicks of the other kind, which stay as they are.
        ask: the segmenter; None leaves it out.
        rule: how far the click acts.

    Returns:
        The new mask; the same object where the clicked voxel already was as it should be.
    """
    spacing = np.array(volume.grid.spacing_xyz[::-1])
    shape = np.array(volume.grid.shape_zyx)
    low, high = _window(click_zyx, rule.most_mm, spacing, shape)
    own = mask.window(low, high)
    wanted = own if inside else ~own
    place = tuple(np.subtract(click_zyx, low))
    if wanted[place]:
        return mask
    depth = ndimage.distance_transform_edt(~wanted, sampling=spacing) if wanted.any() else None
    near = rule.lost_mm if depth is None else float(depth[place])
    near = min(max(near, float(spacing.min())), rule.most_mm / 2)
    reach = min(rule.along * near, rule.most_mm)
    # Most windows are far smaller than the widest one.
    inner_low, inner_high = _window(click_zyx, reach, spacing, shape)
    cut = tuple(slice(a - b, c - b) for a, b, c in zip(inner_low, low, inner_high, strict=True))
    wanted, place = wanted[cut], tuple(np.subtract(click_zyx, inner_low))
    if depth is not None:
        depth = depth[cut]
    distance = distances(click_zyx, inner_low, wanted.shape, spacing)
    free = ~wanted & (distance <= reach)
    for other in opposite:
        free &= distance < distances(other, inner_low, wanted.shape, spacing)
    if depth is not None:
        free &= depth <= rule.depth * near
    hu = volume.array[tuple(slice(a, b) for a, b in zip(inner_low, inner_high, strict=True))]
    alike = looks_alike(hu, place, rule)
    # A fault one voxel thick ends at the click; a thick one may reach farther than the click lies from the outline.
    radius = near + (rule.core - 1) * max(near - float(spacing.min()), 0)
    core = free & alike & (distance <= max(radius, float(spacing.max())))
    if inside and mask.array.size:
        within = distances(click_zyx, inner_low, wanted.shape, spacing * [0, 1, 1])
        disc = radius_mm(mask, volume.grid)
        core &= within <= max(rule.wide * disc, float(spacing.max()))
        free &= within <= max(rule.spread * disc, float(spacing.max()))
    core[place] = True
    core = connected(core, place)
    grown = core
    if ask is not None:
        painted = paint(mask, inner_low, core, inside)
        found = ask(painted, reach, rule.points * near, inner_low, wanted.shape)
        agrees = found >= rule.agree if inside else found <= 1 - rule.agree  # NaN agrees with nothing
        grown = connected(core | (free & agrees), place)
    return paint(mask, inner_low, _smoothed(grown, wanted, free, place), inside)


def radius_mm(mask: MaskPart, grid: Grid) -> float:
    """Radius of a disc as large as the largest axial slice of a mask."""
    x, y, _ = grid.spacing_xyz
    return math.sqrt(int(mask.array.sum(axis=(1, 2)).max()) * x * y / math.pi)


def distances(
    point_zyx: Sequence[int], low_zyx: Sequence[int], shape: tuple[int, ...], spacing_zyx: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Distances of the voxels of a window from a voxel, mm."""
    squares = [
        ((np.arange(n) + low - point) * step) ** 2
        for n, low, point, step in zip(shape, low_zyx, point_zyx, spacing_zyx, strict=True)
    ]
    total = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
    return np.asarray(np.sqrt(total), np.float32)


def looks_alike(values: NDArray[np.generic], place: tuple[int, ...], rule: ClickRule) -> Mask3:
    """Find the voxels of a window whose HU, averaged in-plane, are like those at the click."""
    hu = np.asarray(values, np.float32)
    smooth = ndimage.uniform_filter(hu, size=(1, 3, 3), mode="nearest")
    around = hu[tuple(slice(max(p - r, 0), p + r + 1) for p, r in zip(place, (1, 2, 2), strict=True))]
    middle = float(smooth[place])
    noise = 1.4826 * float(np.median(np.abs(around - np.median(around))))
    return np.asarray(np.abs(smooth - middle) <= max(rule.similar * noise, rule.least_hu))


def connected(mask: Mask3, place: tuple[int, ...]) -> Mask3:
    """The part of a mask that hangs together with a voxel by faces."""
    numbered, _ = ndimage.label(mask)
    return np.asarray(numbered == numbered[place])


def paint(mask: MaskPart, low_zyx: Index, added: Mask3, inside: bool) -> MaskPart:
    """Add voxels of a window to a mask, or take them away."""
    own = mask.window(low_zyx, np.add(low_zyx, added.shape).tolist())
    return mask.with_window(low_zyx, own | added if inside else own & ~added)


def _smoothed(grown: Mask3, wanted: Mask3, free: Mask3, place: tuple[int, ...]) -> Mask3:
    """Fill the pits that noise leaves in what was added, slice by slice."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    both = grown | wanted
    closed = ndimage.binary_closing(np.pad(both, 1, mode="edge"), cross)[1:-1, 1:-1, 1:-1]
    near = ndimage.binary_dilation(grown, cross)
    return np.asarray(grown | (closed & free & near))


def _window(
    center_zyx: Index, reach_mm: float, spacing_zyx: NDArray[np.float64], shape_zyx: NDArray[np.intp]
) -> tuple[Index, Index]:
    steps = np.ceil(reach_mm / spacing_zyx).astype(int) + 1
    low = np.maximum(np.subtract(center_zyx, steps), 0)
    high = np.minimum(np.add(center_zyx, steps) + 1, shape_zyx)
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))
