"""Landmarks: the places of a marked structure that are read off an embedding and searched for.

They are its six extreme points, a lattice around it, and points on its faces. Every template of a structure has the
same number of places in the same order, so places of two templates correspond one by one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box, ExtremePoints, Grid

#: The lattice has this many places per axis over the box, grown per side by LANDMARK_GROWTH of its edge or
#: LANDMARK_LEAST_MM, whichever is more.
LANDMARKS_PER_AXIS = 3
LANDMARK_GROWTH = 0.25
LANDMARK_LEAST_MM = 10.0
#: Places on the surface near each face, beside the extreme point itself.
FACE_POINTS = 8
#: They lie within this share of the box's edge from the face (or within FACE_LEAST_MM, if that is more).
FACE_SHARE = 0.12
FACE_LEAST_MM = 5.0

EXTREMES = slice(0, 6)
LATTICE = slice(6, 6 + LANDMARKS_PER_AXIS**3)
FACES = slice(LATTICE.stop, LATTICE.stop + 6 * FACE_POINTS)


def lattice(box: Box) -> NDArray[np.float64]:
    """Place a lattice over a box and its surroundings, which steadies the fit: (27, 3) LPS mm."""
    growth = np.maximum(np.asarray(box.size) * LANDMARK_GROWTH, LANDMARK_LEAST_MM)
    low, high = np.asarray(box.min) - growth, np.asarray(box.max) + growth
    steps = np.linspace(0, 1, LANDMARKS_PER_AXIS)
    corners = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    points: NDArray[np.float64] = low + corners * (high - low)
    return points


def face_points(mask: NDArray[np.bool_], grid: Grid, extremes: ExtremePoints) -> NDArray[np.float64]:
    """Choose places on a mask's surface near each of its six faces, spread apart.

    An extreme point may lie on any of many equally extreme voxels, and it gives one noisy match; the surface beside it
    moves with the same face.

    Args:
        mask: (Z, Y, X) on a canonical grid (identity direction).
        grid: the mask's grid.
        extremes: of the mask; where the surface near a face has too few voxels, its point is repeated.

    Returns:
        (6 * FACE_POINTS, 3) LPS mm, face by face in the order x-, x+, y-, y+, z-, z+.
    """
    surface = mask & ~ndimage.binary_erosion(mask)
    places = np.argwhere(surface)[:, ::-1] * np.asarray(grid.spacing_xyz) + np.asarray(grid.origin_xyz)
    size = np.asarray(extremes.box.size)
    chosen = []
    for face, point in enumerate(extremes.array):
        axis = face // 2
        depth = np.abs(places[:, axis] - point[axis])
        near = places[depth <= max(FACE_SHARE * size[axis], FACE_LEAST_MM)]
        picked = [point]
        distance = np.linalg.norm(near - point, axis=1)
        while len(picked) <= FACE_POINTS and distance.size and distance.max() > 0:
            # Farthest point first: the next place is the one farthest from all that are chosen already.
            picked.append(near[int(distance.argmax())])
            distance = np.minimum(distance, np.linalg.norm(near - picked[-1], axis=1))
        picked += [point] * (FACE_POINTS + 1 - len(picked))
        chosen += picked[1:]
    return np.asarray(chosen, dtype=float)


def places(extremes: ExtremePoints, mask: NDArray[np.bool_] | None, grid: Grid) -> NDArray[np.float64]:
    """List all landmarks of a structure, (P, 3) LPS mm, in the order EXTREMES, LATTICE, FACES.

    Args:
        extremes: of the structure.
        mask: (Z, Y, X) on a canonical grid; None where only points were marked, whose faces repeat them.
        grid: the mask's grid.
    """
    faces = (
        np.repeat(extremes.array, FACE_POINTS, axis=0) if mask is None else face_points(mask, grid, extremes)
    )
    return np.concatenate([extremes.array, lattice(extremes.box), faces])
