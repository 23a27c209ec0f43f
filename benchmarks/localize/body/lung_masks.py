"""Lungs by threshold, made on the fly: for boxes of scans that nobody labelled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Grid, filled

Mask = NDArray[np.bool_]
AIR_HU = -500.0
#: Places so deep inside of air are lung: windpipe and large bronchi are narrower.
DEPTH_MM = 11.0
#: The windpipe: air of at most this area in a slice, so near to the plane between the lungs.
PIPE_MM2 = 900.0
PIPE_MM = 30.0
#: A lung that is smaller than this share of the other one is collapsed or cut: its mask is no lung's box.
LEAST_SHARE = 0.4


def inner_air(hu: NDArray[np.float32] | NDArray[np.int16]) -> Mask:
    """Air (Z, Y, X) that does not reach the border of its axial slice, inside of the body's outline.

    The outline (the largest piece of tissue in 3D, holes filled in each slice) keeps out foam under the patient, which
    its cover closes off from the border.
    """
    tissue = ndimage.binary_opening(hu > AIR_HU, iterations=1)
    pieces, count = ndimage.label(tissue)
    body = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]) if count else tissue
    outline = np.stack([ndimage.binary_fill_holes(level) for level in body])
    air = (hu <= AIR_HU) & outline
    for level in air:
        parts, _ = ndimage.label(level)
        edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        level &= ~np.isin(parts, np.unique(edge))
    return np.asarray(air)


def without_windpipe(air: Mask, grid: Grid, middle_x: float) -> Mask:
    """Air without the small pieces of each axial slice that lie near to the plane between the lungs.

    Args:
        air: canonical (Z, Y, X).
        grid: its grid.
        middle_x: the plane, LPS mm.
    """
    kept = air.copy()
    area = grid.spacing_xyz[0] * grid.spacing_xyz[1]
    for level in kept:
        parts, count = ndimage.label(level)
        sizes = np.bincount(parts.ravel(), minlength=count + 1) * area
        middles = ndimage.center_of_mass(level, parts, range(1, count + 1))
        for part, (_, x) in enumerate(middles, start=1):
            away = abs(grid.origin_xyz[0] + x * grid.spacing_xyz[0] - middle_x)
            if sizes[part] <= PIPE_MM2 and away <= PIPE_MM:
                level[parts == part] = False
    return kept


def lungs(hu: NDArray[np.float32] | NDArray[np.int16], grid: Grid) -> dict[str, Mask]:
    """Both lungs as masks (Z, Y, X), ``lung_left`` and ``lung_right``; empty where two lungs cannot be told apart.

    Args:
        hu: canonical array: x grows to the patient's left, z to the head.
        grid: its grid.
    """
    air = inner_air(hu)
    spacing = grid.spacing_xyz[::-1]
    depth = ndimage.distance_transform_edt(air, sampling=spacing)
    cores, count = ndimage.label(depth > DEPTH_MM)
    if count < 2:
        return {}
    sizes = np.bincount(cores.ravel())[1:]
    first, second = (1 + np.argsort(sizes)[::-1])[:2]
    middles = [ndimage.center_of_mass(cores == core)[2] for core in (first, second)]
    left, right = (first, second) if middles[0] > middles[1] else (second, first)
    middle_x = grid.origin_xyz[0] + sum(middles) / 2 * grid.spacing_xyz[0]
    allowed = without_windpipe(air, grid, middle_x)
    # Each voxel of air goes to the nearest core if it is joined to it, else to the lung that it touches.
    nearest = ndimage.distance_transform_edt(
        (cores != left) & (cores != right), sampling=spacing, return_distances=False, return_indices=True
    )
    owner = cores[tuple(nearest)]
    owners = {"lung_left": left, "lung_right": right}
    masks = {name: joined(allowed & (owner == core), cores == core) for name, core in owners.items()}
    rest, count = ndimage.label(allowed & ~masks["lung_left"] & ~masks["lung_right"])
    touched = [
        np.bincount(rest[ndimage.binary_dilation(mask)], minlength=count + 1) for mask in masks.values()
    ]
    for place, mask in enumerate(masks.values()):
        most = (touched[place] > touched[1 - place]) & (np.arange(count + 1) > 0)
        mask |= most[rest]
    return {name: np.stack([ndimage.binary_fill_holes(level) for level in m]) for name, m in masks.items()}


def joined(mask: Mask, core: Mask) -> Mask:
    """The pieces of a mask that hold a voxel of a core."""
    pieces, _ = ndimage.label(mask)
    held = np.unique(pieces[core])
    return np.isin(pieces, held[held > 0])


def whole(masks: dict[str, Mask]) -> bool:
    """Whether there are two lungs of comparable size, neither of which touches the first or last slice."""
    if len(masks) < 2:
        return False
    sizes = sorted(int(mask.sum()) for mask in masks.values())
    if sizes[0] < LEAST_SHARE * sizes[1]:
        return False
    levels = [filled(mask, 0) for mask in masks.values()]
    depth = len(next(iter(masks.values())))
    return all(level[0] > 0 and level[-1] < depth - 1 for level in levels)
