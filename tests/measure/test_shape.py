import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.measure.shape import axial_diameters, sphericity, surface_area

SPACINGS = [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (5.0, 0.8, 0.8)]


def ball(radius: float, spacing: tuple[float, ...], seed: int) -> Any:
    """A ball whose centre lies anywhere in its voxel."""
    shift = np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    half = [math.ceil(radius / s) + 1 for s in spacing]
    z, y, x = (np.arange(-n, n + 1) + d for n, d in zip(half, shift, strict=True))
    place = np.meshgrid(z * spacing[0], y * spacing[1], x * spacing[2], indexing="ij")
    return sum(p**2 for p in place) <= radius**2


def test_a_disc_has_its_diameter() -> None:
    y, x = np.mgrid[-40:41, -40:41]
    mask = np.zeros((3, 81, 81), bool)
    mask[1] = (y * 0.5) ** 2 + (x * 1.0) ** 2 <= 15**2  # pixels of 0.5 x 1 mm, radius 15 mm
    mask[0, 40, 40] = True
    long, short = axial_diameters(mask, (5.0, 0.5, 1.0))
    assert long == pytest.approx(30, abs=1.0)
    assert short == pytest.approx(30, abs=1.0)


def test_a_single_voxel_is_as_wide_as_it_is() -> None:
    assert axial_diameters(np.ones((1, 1, 1), bool), (3.0, 2.0, 2.0)) == pytest.approx((2.0, 2.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_diameters_agree_with_the_plain_search(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((3, 6, 7)) < 0.2
    mask[1, 2, 3] = True
    best = 0.0
    for layer in mask:
        pixels = np.argwhere(layer).astype(float)
        edges = np.concatenate([pixels + d for d in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])])
        edges = edges * [0.7, 1.3]
        if len(edges):
            best = max(best, float(np.linalg.norm(edges[:, None] - edges[None], axis=-1).max()))
    long, short = axial_diameters(mask, (1.0, 0.7, 1.3))
    assert long == pytest.approx(best)
    assert short <= long + 1e-9


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("radius", [5, 10, 20, 40])
def test_the_surface_of_a_ball(spacing: tuple[float, float, float], radius: float) -> None:
    # 4 % where ten slices hold it, 20 % where two do, which is below what is reported.
    error = 0.4 * max(spacing) / (2 * radius)
    for seed in range(6 if radius < 40 else 2):
        mask = ball(radius, spacing, seed)
        surface = surface_area(mask, spacing)
        assert surface == pytest.approx(4 * math.pi * radius**2, rel=error)
        volume = np.count_nonzero(mask) * math.prod(spacing)
        assert sphericity(volume, surface) == pytest.approx(1, abs=error)


def test_of_equal_diameters_the_wider_one_counts() -> None:
    # A bar, and in another slice one as long with a bulge in its middle.
    mask = np.zeros((2, 5, 9), bool)
    mask[:, 2] = True
    mask[1, 1, 4] = True
    assert axial_diameters(mask, (1.0, 1.0, 1.0)) == axial_diameters(mask[::-1], (1.0, 1.0, 1.0))
    assert axial_diameters(mask, (1.0, 1.0, 1.0)) == pytest.approx((9, 2))


def test_a_flat_face_is_too_small_by_what_is_said() -> None:
    big = surface_area(np.ones((60, 60, 60), bool), (1.0, 1.0, 1.0)) / (6 * 60**2)
    assert big == pytest.approx(0.92, abs=0.01)
    flat = surface_area(np.ones((12, 75, 75), bool), (5.0, 0.8, 0.8)) / (6 * 60**2)
    assert 0.75 < flat < 0.85


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.5, 6.0)] * 3))
def test_a_surface_does_not_depend_on_the_axes_and_grows_with_the_voxels(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    mask = np.random.default_rng(seed).random((5, 6, 7)) < 0.5
    surface = surface_area(mask, spacing)
    for order in itertools.permutations(range(3)):
        z, y, x = (spacing[axis] for axis in order)
        assert surface_area(mask.transpose(order), (z, y, x)) == pytest.approx(surface)
    assert surface_area(mask[::-1], spacing) == pytest.approx(surface)
    assert surface_area(np.pad(mask, 2), spacing) == pytest.approx(surface)
    z, y, x = (2 * s for s in spacing)
    assert surface_area(mask, (z, y, x)) == pytest.approx(4 * surface)


def test_sphericity_is_1_at_most() -> None:
    assert sphericity(4 / 3 * math.pi * 8, 16 * math.pi) == pytest.approx(1)
    assert sphericity(1.0, 6.0) == pytest.approx((math.pi / 6) ** (1 / 3))
    assert sphericity(1.0, 2.0) == 1
