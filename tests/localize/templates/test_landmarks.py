"""Which places of a structure are looked up."""

from __future__ import annotations

import numpy as np

from medlsam.geometry import ExtremePoints, Grid
from medlsam.localize.templates.landmarks import (
    EXTREMES,
    FACE_POINTS,
    FACES,
    LATTICE,
    face_points,
    places,
)

GRID = Grid((40, 40, 40), (2.0, 2.0, 3.0), (-40.0, -40.0, -60.0))


def ball(radius: float = 25.0) -> np.ndarray:
    index = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)[..., ::-1]
    points = index * np.asarray(GRID.spacing_xyz) + np.asarray(GRID.origin_xyz)
    return np.asarray(np.linalg.norm(points, axis=-1) < radius)


def test_places_are_extremes_lattice_faces() -> None:
    mask = ball()
    extremes = ExtremePoints.from_mask(mask, GRID)
    marked = places(extremes, mask, GRID)
    assert len(marked) == FACES.stop
    assert np.array_equal(marked[EXTREMES], extremes.array)
    low, high = marked[LATTICE].min(axis=0), marked[LATTICE].max(axis=0)
    assert (low < extremes.box.min).all()
    assert (high > extremes.box.max).all()


def test_face_points_lie_on_the_surface_near_their_face() -> None:
    mask = ball()
    extremes = ExtremePoints.from_mask(mask, GRID)
    points = face_points(mask, GRID, extremes).reshape(6, FACE_POINTS, 3)
    for face, group in enumerate(points):
        depth = np.abs(group[:, face // 2] - extremes.array[face, face // 2])
        assert depth.max() <= 0.12 * extremes.box.size[face // 2] + 1e-6
        assert np.abs(np.linalg.norm(group, axis=1) - 25.0).max() < 5.0  # two voxels
        assert len(np.unique(group, axis=0)) == FACE_POINTS
        spread = np.linalg.norm(group[:, None] - group[None], axis=-1).max()
        assert spread > 10.0


def test_a_structure_of_one_voxel_repeats_its_point() -> None:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[20, 20, 20] = True
    extremes = ExtremePoints.from_mask(mask, GRID)
    assert np.isfinite(places(extremes, mask, GRID)).all()


def test_without_a_mask_the_faces_repeat_the_extreme_points() -> None:
    extremes = ExtremePoints.from_mask(ball(), GRID)
    marked = places(extremes, None, GRID)
    assert np.array_equal(marked[FACES], np.repeat(extremes.array, FACE_POINTS, axis=0))
