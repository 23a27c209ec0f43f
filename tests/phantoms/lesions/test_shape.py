"""What is drawn must have the diameters and the volume that are said to be true."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from medlsam.geometry import Grid
from medlsam.phantoms.lesions import LesionShape, PhantomLesion
from medlsam.phantoms.lesions.shape import lobulated_balls


def drawn(
    shape: LesionShape, spacing: tuple[float, float, float], shift: tuple[float, float, float]
) -> tuple[np.ndarray, Grid]:
    """The mask of a shape about a point that lies anywhere in a voxel."""
    count = [2 * math.ceil(max(shape.radii_mm) / s) + 5 for s in spacing]
    half = [-(n - 1) / 2 * s + f * s for n, s, f in zip(count, spacing, shift, strict=True)]
    grid = Grid((count[2], count[1], count[0]), spacing, (half[0], half[1], half[2]))
    lesion = PhantomLesion(1, "liver_cyst", "liver", (0.0, 0.0, 0.0), shape, 0.0, 0.0)
    return lesion.mask(grid), grid


def axial_diameter(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Longest distance of two voxel centres of one slice, mm."""
    best = 0.0
    for plane in mask:
        points = np.argwhere(plane)[:, ::-1] * spacing[:2]
        if len(points) > 2 and np.ptp(points, axis=0).min() > 0:
            best = max(best, float(pdist(points[ConvexHull(points).vertices]).max()))
    return best


def perpendicular(mask: np.ndarray, spacing: tuple[float, float, float]) -> float:
    """Extent of the slice with the longest diameter, at right angles to it, between voxel centres, mm."""
    best, across = 0.0, 0.0
    for plane in mask:
        points = np.argwhere(plane)[:, ::-1] * spacing[:2]
        if len(points) < 3 or np.ptp(points, axis=0).min() == 0:
            continue
        corners = points[ConvexHull(points).vertices]
        for a, b in itertools.combinations(corners, 2):
            length = float(np.linalg.norm(b - a))
            if length > best:
                normal = np.array([a[1] - b[1], b[0] - a[0]]) / length
                best, across = length, float(np.ptp(corners @ normal))
    return across


turns = st.integers(0, 10_000).map(
    lambda seed: tuple(Rotation.random(random_state=seed).as_matrix().ravel().tolist())
)
axes = st.floats(0.55, 1.0)
spacings = st.tuples(st.floats(0.6, 1.2), st.floats(0.6, 1.2), st.floats(0.8, 2.0))
shifts = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


@settings(max_examples=40, deadline=None)
@given(st.floats(12, 25), axes, axes, turns, spacings, shifts)
def test_the_mask_of_an_ellipsoid_has_the_analytic_measures(
    longest: float,
    b: float,
    c: float,
    turn: tuple[float, ...],
    spacing: tuple[float, float, float],
    shift: tuple[float, float, float],
) -> None:
    shape = LesionShape((longest, b * longest, c * longest), turn)
    mask, grid = drawn(shape, spacing, shift)
    long, short, volume = shape.measures
    pixel = max(spacing[:2])
    # Centres lie inside, so a diameter between them is short by at most about a pixel.
    measured = axial_diameter(mask, spacing)
    assert long - 1.2 * pixel - 0.15 <= measured <= long + 1e-6
    if long > 1.15 * short:
        # Where the axes are nearly equal the long one of the mask may lie anywhere.
        assert abs(perpendicular(mask, spacing) + pixel / 2 - short) <= pixel + 0.2
    # One voxel more or less all around bounds the volume; half of one is what a mask may be off.
    voxel = max(spacing) / 2
    assert shape.widened(-voxel).measures[2] < mask.sum() * grid.voxel_ml < shape.widened(voxel).measures[2]
    assert mask.sum() * grid.voxel_ml == pytest.approx(volume, rel=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_of_a_lobulated_shape_has_the_measures_of_the_fine_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = tuple(Rotation.random(random_state=seed).as_matrix().ravel().tolist())
    shape = LesionShape((20.0, 15.0, 13.0), turn, lobulated_balls(rng))
    spacing = (0.8, 0.8, 1.0)
    mask, grid = drawn(shape, spacing, (0.2, -0.3, 0.4))
    long, short, volume = shape.measures
    enclosing = LesionShape(shape.radii_mm, turn).measures
    assert short <= long < enclosing[0]
    assert abs(axial_diameter(mask, spacing) + 0.4 - long) <= 1.0
    # The extent of all corners is at least as long as any one chord.
    assert perpendicular(mask, spacing) >= short - 1.6
    assert short > 0.6 * perpendicular(mask, spacing)
    assert mask.sum() * grid.voxel_ml == pytest.approx(volume, rel=0.02)
    assert 0.35 * enclosing[2] < volume < 0.95 * enclosing[2]


def test_the_fine_grid_agrees_with_the_formula() -> None:
    turn = tuple(Rotation.random(random_state=3).as_matrix().ravel().tolist())
    exact = LesionShape((12.0, 9.0, 7.0), turn)
    # A second ball inside the first changes nothing but takes the other way.
    fine = LesionShape(exact.radii_mm, turn, ((0.0, 0.0, 0.0, 1.0), (0.1, 0.0, 0.0, 0.5)))
    assert not fine.is_ellipsoid
    assert fine.measures == pytest.approx(exact.measures, rel=0.01)


@given(turns, st.floats(0.3, 3))
@settings(max_examples=20, deadline=None)
def test_scaling_and_turning(turn: tuple[float, ...], factor: float) -> None:
    shape = LesionShape((12.0, 9.0, 7.0), turn)
    long, short, volume = shape.measures
    assert shape.scaled(factor).measures == pytest.approx((long * factor, short * factor, volume * factor**3))
    about_z = Rotation.from_euler("z", 40, degrees=True).as_matrix()
    assert shape.turned(about_z).measures == pytest.approx(shape.measures)
    assert shape.turned(Rotation.from_euler("x", 90, degrees=True).as_matrix()).measures[2] == pytest.approx(
        volume
    )


def test_a_known_case() -> None:
    # The long axis along z is not seen in an axial slice.
    assert LesionShape((10.0, 6.0, 30.0)).measures == pytest.approx(
        (20.0, 12.0, 4 / 3 * math.pi * 10 * 6 * 30 / 1000)
    )
    offsets = np.array([[0.0, 0, 0], [10, 0, 0], [11, 0, 0], [0, 0, 29]])
    distance = LesionShape((10.0, 6.0, 30.0)).distance(offsets)
    assert distance == pytest.approx([-6.0, 0.0, 1.0, -1.0])


def test_outside_the_grid_there_is_nothing() -> None:
    lesion = PhantomLesion(
        1, "liver_cyst", "liver", (500.0, 0.0, 0.0), LesionShape((5.0, 5.0, 5.0)), 0.0, 0.0
    )
    assert not lesion.mask(Grid((10, 10, 10))).any()
