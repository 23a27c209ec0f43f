"""Nodes: places in and around a structure by which its shape is followed into another scan (``search.deformation``).

Scale and shift along each axis carry a structure from one person to another only so far: one spleen ends at the back,
another one reaches the stomach's front. Nodes fill the structure and its surroundings, and each may move on its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box, Grid

#: About so many nodes at most: four times as many found the same faces and took seven times as long.
MOST_NODES = 150
#: Distance between nodes as a share of the structure's edge, and its least, mm: half a cell of the finest features.
STEP_SHARE, LEAST_STEP_MM = 1 / 7, 4.0
#: How far around the structure they lie, as a share of its edge, within these limits, mm.
SHELL_SHARE, SHELL_MM = 0.2, (6.0, 12.0)
#: Of a box grown by the shell an organ and its shell fill about this share.
_FILLED = 2 / 3


def edge_of(box: Box) -> float:
    """Compute the edge of the cube that is as large as a box, mm."""
    return float(box.volume ** (1 / 3))


def node_places(box: Box, mask: NDArray[np.bool_] | None, grid: Grid) -> NDArray[np.float64]:
    """Place nodes in a structure and around it, (N, 3) LPS mm.

    Args:
        box: the structure's, LPS mm.
        mask: (Z, Y, X) on a canonical grid; None where only points were marked, whose ellipsoid stands for it.
        grid: the mask's grid.
    """
    edge = edge_of(box)
    shell = float(np.clip(SHELL_SHARE * edge, *SHELL_MM))
    low, high = np.asarray(box.min) - shell, np.asarray(box.max) + shell
    step = max(STEP_SHARE * edge, LEAST_STEP_MM, float(np.prod(high - low) * _FILLED / MOST_NODES) ** (1 / 3))
    counts = np.maximum(np.rint((high - low) / step), 2).astype(int)
    axes = [
        a + (np.arange(n) + 0.5) * (b - a) / n for a, b, n in zip(low, high, counts.tolist(), strict=True)
    ]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if mask is None:
        away = (places - np.asarray(box.center)) / ((high - low) / 2)
        return np.asarray(places[np.square(away).sum(axis=-1) <= 1])
    return np.asarray(places[_distance(mask, grid, places, shell) <= shell])


def _distance(
    mask: NDArray[np.bool_], grid: Grid, places: NDArray[np.float64], most_mm: float
) -> NDArray[np.float64]:
    """Compute the distances (N,) mm of places from a mask; beyond ``most_mm`` only that they are larger."""
    spacing = np.asarray(grid.spacing_xyz)[::-1]
    inside = np.argwhere(mask)
    margin = np.ceil(most_mm / spacing).astype(int) + 1
    low, high = inside.min(axis=0) - margin, inside.max(axis=0) + margin + 1
    # The margin may reach beyond the scan, where the structure does not.
    before, after = np.maximum(-low, 0), np.maximum(high - mask.shape, 0)
    part = mask[tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))]
    part = np.pad(part, list(zip(before, after, strict=True)))
    index = ((places - np.asarray(grid.origin_xyz)) / np.asarray(grid.spacing_xyz))[:, ::-1] - low
    away = ndimage.distance_transform_edt(~part, sampling=spacing)
    return np.asarray(ndimage.map_coordinates(away, index.T, order=1, mode="nearest"))
