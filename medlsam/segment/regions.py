"""Regions of a slice without a name: prompts where there are no labels.

Several means propose a region (connected pixels of similar HU, superpixels, connected parts of a band of HU), and all
are judged alike: its size, that it lies inside the body, and that it differs from what surrounds it by more than noise
does. No means knows an organ, so what is learned from them is "what fits this box" and not a list of structures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.volume.hounsfield import TISSUE_HU

Plane = NDArray[np.generic]
Mask = NDArray[np.bool_]
Spacing = tuple[float, float]
#: Proposes a region of a plane: HU (rows, columns), (column, row) spacing in mm, the only source of chance.
Kind = Callable[[Plane, Spacing, np.random.Generator], Mask | None]

#: Longest edge of a region's box, mm.
SIZES_MM = (6.0, 200.0)
# Shortest edge, pixels, and the share of its box that a region fills: no threads.
_NARROWEST_MM, _FEWEST_PIXELS, _FILLED = 3.0, 12, 0.2
# Share of a region that lies inside the body.
_INSIDE = 0.9
# The body's outline is found in pixels of about this size: it needs no more, and takes a tenth of the time.
_COARSE_MM = 3.0
# Means are compared in planes blurred so far, with the ring of this width around a region.
_BLUR_MM, _RING_MM = 2.0, 4.0
# Noise is what a mean of this width takes away: the grain of smooth reconstructions is some millimetres wide.
_GRAIN_MM = 6.0
# Least difference, HU, of a small region and of one of 40 mm and more, and in parts of the noise.
_DISTINCT_HU, _DISTINCT_LARGE_HU, _LARGE_MM, _DISTINCT_NOISE = 18.0, 10.0, 40.0, 1.6
# Share of the ring that has to differ so much.
_OUTLINED = 0.65
# Floods, superpixels and parts of bands are sought in windows of these widths.
_FLOODS_MM, _SUPERPIXELS_MM, _BANDS_MM = 240.0, 200.0, 320.0


def draw_region(
    plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator, tries: int = 8
) -> Mask | None:
    """Draw a region by means drawn at random.

    Args:
        plane_hu: (rows, columns) HU.
        spacing_uv: (column, row) pixel spacing in mm.
        rng: the only source of chance.
        tries: proposals before it gives up.

    Returns:
        (rows, columns) mask, one region of 6 to 200 mm inside the body; None where no proposal was good.
    """
    body = body_mask(plane_hu, spacing_uv)
    if not body.any():
        return None
    noise = noise_hu(plane_hu, spacing_uv, body)
    kinds = list(KINDS.values())
    for _ in range(tries):
        proposed = kinds[rng.integers(len(kinds))](plane_hu, spacing_uv, rng)
        if proposed is not None and is_region(proposed, plane_hu, spacing_uv, body, noise):
            return proposed
    return None


def body_mask(plane_hu: Plane, spacing_uv: Spacing) -> Mask:
    """Outline the body in a plane (rows, columns), lungs and bowel gas included; empty where there is only air."""
    rows, columns = (max(1, round(_COARSE_MM / s)) for s in reversed(spacing_uv))
    coarse = ndimage.binary_opening(plane_hu[::rows, ::columns].astype(np.float32) > TISSUE_HU)
    numbered, count = ndimage.label(coarse)
    if count == 0:
        return np.zeros(plane_hu.shape, bool)
    sizes = np.bincount(numbered.ravel())[1:]
    # arms and legs are parts of their own; the couch and its pads are thin or small
    kept = np.isin(numbered, 1 + np.flatnonzero(sizes >= 0.1 * sizes.max()))
    # body at the plane's border closes lungs that the field of view cuts
    filled = ndimage.binary_fill_holes(kept)
    whole = filled.repeat(rows, axis=0).repeat(columns, axis=1)
    return np.asarray(whole[: plane_hu.shape[0], : plane_hu.shape[1]])


def noise_hu(plane_hu: Plane, spacing_uv: Spacing, body: Mask) -> float:
    """Estimate the noise of a plane: the standard deviation, HU, of the quietest fifth of small squares in the body."""
    rows, columns = (max(3, round(_GRAIN_MM / s)) for s in reversed(spacing_uv))
    high, wide = (n // step * step for n, step in zip(plane_hu.shape, (rows, columns), strict=True))

    def squares(plane: NDArray[np.generic]) -> NDArray[np.float32]:
        cut = plane[:high, :wide].astype(np.float32)
        return cut.reshape(high // rows, rows, wide // columns, columns).transpose(0, 2, 1, 3)

    inside = squares(body).all(axis=(2, 3))
    return float(np.quantile(squares(plane_hu)[inside].std(axis=(1, 2)), 0.2)) if inside.any() else 0.0


def is_region(mask: Mask, plane_hu: Plane, spacing_uv: Spacing, body: Mask, noise: float) -> bool:
    """Judge a proposal: of a fitting size, compact, inside the body, and unlike its surroundings.

    Args:
        mask: (rows, columns).
        plane_hu: (rows, columns) HU.
        spacing_uv: (column, row) pixel spacing in mm.
        body: of ``body_mask``.
        noise: of ``noise_hu``.
    """
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return False
    spacing_vu = np.array(spacing_uv[::-1])
    edges = np.array([s.stop - s.start for s in found[0]]) * spacing_vu
    if not SIZES_MM[0] <= edges.max() <= SIZES_MM[1] or edges.min() < _NARROWEST_MM:
        return False
    own = mask[found[0]]
    if own.sum() < _FEWEST_PIXELS or own.mean() < _FILLED or body[found[0]][own].mean() < _INSIDE:
        return False
    return _difference(mask, plane_hu, spacing_vu, found[0]) >= max(
        _least(edges.max()), _DISTINCT_NOISE * noise
    )


def _least(longest_mm: float) -> float:
    """Return the least difference, HU, of a region from its surroundings: small ones are more easily chance."""
    return _DISTINCT_HU + (_DISTINCT_LARGE_HU - _DISTINCT_HU) * min(1.0, longest_mm / _LARGE_MM)


def _difference(
    mask: Mask, plane_hu: Plane, spacing_vu: NDArray[np.float64], where: tuple[slice, slice]
) -> float:
    """Compare a region's HU with those of a ring around it.

    The ring's pixels are compared one by one: muscle between fat and bone has a mean like its ring's. Most of them have
    to differ, or a piece of an organ would pass that touches the organ's border somewhere.
    """
    steps = np.maximum(1, np.ceil(_RING_MM / spacing_vu)).astype(int).tolist()
    rows, columns = (
        slice(max(0, s.start - 2 * n), s.stop + 2 * n) for s, n in zip(where, steps, strict=True)
    )
    inside, hu = mask[rows, columns], np.clip(plane_hu[rows, columns].astype(np.float32), -1000, 1500)
    blurred = ndimage.gaussian_filter(hu, _BLUR_MM / spacing_vu)
    grown = ndimage.maximum_filter(inside, [2 * n + 1 for n in steps])
    ring = grown & ~inside
    if not ring.any():
        return 0.0
    middle = np.median(blurred[inside])
    around, within = np.abs(blurred[ring] - middle), np.abs(blurred[inside] - middle)
    return float(np.quantile(around, 1 - _OUTLINED) - np.median(within))


def flood(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator, tries: int = 6) -> Mask | None:
    """Propose a connected region of similar HU around a random place, 8 to 180 mm wide; None if none is found."""
    for _ in range(tries):
        part = _window(plane_hu, spacing_uv, _FLOODS_MM, rng)
        blur = [rng.uniform(1.0, 5.0) / s for s in reversed(spacing_uv)]
        smooth = ndimage.gaussian_filter(plane_hu[part].astype(np.float32), blur)
        body = np.argwhere(smooth > -950)
        if len(body) < 20:
            continue
        seed = tuple(body[rng.integers(len(body))])
        band = np.exp(rng.uniform(np.log(15), np.log(150)))
        similar = ndimage.binary_opening(np.abs(smooth - smooth[seed]) < band)
        numbered, _count = ndimage.label(similar)
        if numbered[seed] == 0:
            continue
        region = ndimage.binary_fill_holes(numbered == numbered[seed])
        where = ndimage.find_objects(region.astype(np.uint8))[0]
        height, width = ((s.stop - s.start) * p for s, p in zip(where, reversed(spacing_uv), strict=True))
        large = 8 <= max(height, width) <= 180 and min(height, width) >= 4 and region.sum() >= 6
        if large and region[where].mean() > 0.25 and not _is_cut(where, part, plane_hu):
            return _whole(region, part, plane_hu)
    return None


def superpixel(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator) -> Mask | None:
    """Propose a superpixel (SLIC) with those of its neighbours that are alike.

    Their edges lie where HU change, in steps of a grid of 8 to 40 mm that is drawn at random.
    """
    part = _window(plane_hu, spacing_uv, _SUPERPIXELS_MM, rng)
    grid_mm, alike = math.exp(rng.uniform(math.log(8), math.log(40))), math.exp(rng.uniform(1.6, 4.0))
    hu = np.clip(plane_hu[part].astype(np.float32), -1000, 600)
    hu = ndimage.gaussian_filter(hu, [rng.uniform(0.5, 2.0) / s for s in reversed(spacing_uv)])
    grid = [max(3, round(grid_mm / s)) for s in spacing_uv]
    if min(hu.shape) < 2 * max(grid):
        return None
    slic = sitk.SLICImageFilter()
    slic.SetSuperGridSize(grid)
    slic.SetSpatialProximityWeight(float(rng.uniform(3, 15)))
    # small, and the same on every machine; parts would be handed to threads even where there is one, which on a busy
    # machine takes four times as long
    slic.SetNumberOfThreads(1)
    slic.SetNumberOfWorkUnits(1)
    numbered = sitk.GetArrayFromImage(slic.Execute(sitk.GetImageFromArray(hu))).astype(np.intp)
    sizes = np.bincount(numbered.ravel())
    means = np.bincount(numbered.ravel(), hu.ravel()) / np.maximum(sizes, 1)
    inside = np.flatnonzero((sizes > 0) & (means > TISSUE_HU))
    if not len(inside):
        return None
    chosen = int(inside[rng.integers(len(inside))])
    joined, _ = ndimage.label((np.abs(means - means[chosen]) < alike)[numbered])
    region = joined == joined[np.unravel_index(int((numbered == chosen).argmax()), numbered.shape)]
    region = ndimage.binary_fill_holes(region)
    (where,) = ndimage.find_objects(region.astype(np.uint8))
    return None if _is_cut(where, part, plane_hu) else _whole(region, part, plane_hu)


def bone(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator) -> Mask | None:
    """Propose a connected part of what is denser than 150 to 400 HU, its marrow filled in half of the times."""
    region = _part_of_band(plane_hu, spacing_uv, (rng.uniform(150, 400), np.inf), 0.7, rng)
    return ndimage.binary_fill_holes(region) if region is not None and rng.random() < 0.5 else region


def vessel(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator) -> Mask | None:
    """Propose a connected part of what has taken up contrast: vessels, the heart's chambers, kidneys."""
    low = rng.uniform(90, 220)
    return _part_of_band(plane_hu, spacing_uv, (low, low + rng.uniform(80, 300)), 1.5, rng)


def fat(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator) -> Mask | None:
    """Propose a connected part of what has the HU of fat."""
    return _part_of_band(plane_hu, spacing_uv, (rng.uniform(-180, -130), rng.uniform(-60, -20)), 1.5, rng)


def air(plane_hu: Plane, spacing_uv: Spacing, rng: np.random.Generator) -> Mask | None:
    """Propose a connected part of lung, airways or gas inside the body, its vessels filled in half of the times."""
    region = _part_of_band(plane_hu, spacing_uv, (-np.inf, rng.uniform(-700, -350)), 1.0, rng, inside=True)
    return ndimage.binary_fill_holes(region) if region is not None and rng.random() < 0.5 else region


#: Every kind, by what it looks for. Floods and superpixels, which find most of soft tissue, count double.
KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "similar": lambda plane, spacing, rng: flood(plane, spacing, rng, tries=1),
        "similar_again": lambda plane, spacing, rng: flood(plane, spacing, rng, tries=1),
        "superpixel": superpixel,
        "superpixel_again": superpixel,
        "bone": bone,
        "vessel": vessel,
        "fat": fat,
        "air": air,
    }
)


def _part_of_band(
    plane_hu: Plane,
    spacing_uv: Spacing,
    band: tuple[float, float],
    blur_mm: float,
    rng: np.random.Generator,
    inside: bool = False,
) -> Mask | None:
    """Draw a connected part of a band of HU."""
    part = _window(plane_hu, spacing_uv, _BANDS_MM, rng)
    hu = ndimage.gaussian_filter(plane_hu[part].astype(np.float32), [blur_mm / s for s in spacing_uv[::-1]])
    within = (hu > band[0]) & (hu < band[1])
    if inside:
        within &= body_mask(plane_hu, spacing_uv)[part]
    numbered, _ = ndimage.label(ndimage.binary_opening(within))
    fitting = []
    for number, where in enumerate(ndimage.find_objects(numbered), start=1):
        edges = [(s.stop - s.start) * p for s, p in zip(where, reversed(spacing_uv), strict=True)]
        if SIZES_MM[0] <= max(edges) <= SIZES_MM[1] and not _is_cut(where, part, plane_hu):
            fitting.append(number)
    if not fitting:
        return None
    return _whole(numbered == fitting[rng.integers(len(fitting))], part, plane_hu)


def _window(
    plane_hu: Plane, spacing_uv: Spacing, width_mm: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Place a window at random, inside the plane where the plane is larger."""
    found = []
    for count, step in zip(plane_hu.shape, reversed(spacing_uv), strict=True):
        width = min(count, max(8, int(width_mm / step)))
        low = int(rng.integers(0, count - width + 1))
        found.append(slice(low, low + width))
    return found[0], found[1]


def _is_cut(where: tuple[slice, slice], part: tuple[slice, slice], plane_hu: Plane) -> bool:
    """Tell whether the edge of a window cuts a region off; the plane's own edge cuts organs too, and may."""
    return any(
        (own.start == 0 and window.start > 0) or (window.start + own.stop == window.stop < count)
        for own, window, count in zip(where, part, plane_hu.shape, strict=True)
    )


def _whole(region: Mask, part: tuple[slice, slice], plane_hu: Plane) -> Mask:
    mask = np.zeros(plane_hu.shape, bool)
    mask[part] = region
    return mask
