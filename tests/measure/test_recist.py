"""Diameters: against the analytic ones of ellipses, against plain searches, and whatever way the scan is stored."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.errors import GeometryError
from medlsam.measure.recist import hcuch_axes, hcuch_diameter, recist_diameters
from medlsam.measure.shape import axial_diameters


def ellipse(
    long: float, short: float, degrees: float, pixel: tuple[float, float], shift: tuple[float, float] = (0, 0)
) -> Any:
    """(1, Y, X): an ellipse of full axes in mm, turned, its middle anywhere in its pixel; ``pixel`` is (x, y) mm."""
    half = [int(np.ceil(long / 2 / size)) + 2 for size in pixel]
    x, y = ((np.arange(-n, n + 1) + d) * size for n, d, size in zip(half, shift, pixel, strict=True))
    angle = np.deg2rad(degrees)
    along = x[None] * np.cos(angle) + y[:, None] * np.sin(angle)
    across = y[:, None] * np.cos(angle) - x[None] * np.sin(angle)
    return ((2 * along / long) ** 2 + (2 * across / short) ** 2 <= 1)[None]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.floats(8, 60), st.floats(0.3, 1), st.floats(0, 180), st.floats(0.5, 1.3), st.floats(0.5, 1.3),
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5),
)  # fmt: skip
def test_ellipses_in_the_worst_places_are_right_within_a_pixel_and_a_quarter(
    long: float, ratio: float, degrees: float, x: float, y: float, dx: float, dy: float
) -> None:
    short = max(long * ratio, 6 * max(x, y))
    long = max(long, short)
    found = recist_diameters(ellipse(long, short, degrees, (x, y), (dx, dy)), (x, y, 5.0))
    # The tool looks for the worst place on the pixels: there the short axis of few ellipses is off by a little more.
    assert found.longest_mm == pytest.approx(long, abs=1.02 * max(x, y))
    assert found.perpendicular_mm == pytest.approx(short, abs=1.25 * max(x, y))


def test_ellipses_at_random_are_right_within_a_pixel() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = rng.uniform(0.5, 1.3, 2)
        short = max(rng.uniform(2, 40), 6 * max(x, y))
        long = short * rng.uniform(1, 3)
        mask = ellipse(long, short, rng.uniform(0, 180), (x, y), tuple(rng.uniform(-0.5, 0.5, 2)))
        found = recist_diameters(mask, (x, y, 5.0))
        assert found.longest_mm == pytest.approx(long, abs=max(x, y))
        assert found.perpendicular_mm == pytest.approx(short, abs=max(x, y))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_diameters_do_not_depend_on_how_a_scan_is_stored(seed: int) -> None:
    """Flipped and transposed in the plane: and the longest one is that of ``statistics.csv``."""
    mask = np.random.default_rng(seed).random((4, 7, 9)) < 0.35
    mask[2, 3, 4] = True
    mask[:, :, 5:] = False
    found = recist_diameters(mask, (0.7, 1.1, 3.0))
    for other, spacing in (
        (mask[:, ::-1], (0.7, 1.1, 3.0)),
        (mask[:, :, ::-1], (0.7, 1.1, 3.0)),
        (mask.transpose(0, 2, 1), (1.1, 0.7, 3.0)),
    ):
        again = recist_diameters(other, spacing)
        assert (again.longest_mm, again.perpendicular_mm) == pytest.approx(
            (found.longest_mm, found.perpendicular_mm)
        )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0, 180), st.floats(0.4, 1), st.floats(0.5, 1.5))
def test_one_part_has_the_longest_diameter_of_the_statistics_and_no_longer_short_one(
    degrees: float, ratio: float, x: float
) -> None:
    mask = ellipse(30, 30 * ratio, degrees, (x, 0.9))
    found = recist_diameters(mask, (x, 0.9, 2.0))
    long, width = axial_diameters(mask, (2.0, 0.9, x))
    assert found.longest_mm == pytest.approx(long)
    assert found.perpendicular_mm <= width + 1e-6


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0, 180), st.floats(0.4, 0.9))
def test_the_short_axis_is_the_longest_perpendicular_chord(degrees: float, ratio: float) -> None:
    """Against thousands of chords across the outline's polygon."""
    from matplotlib.path import Path

    from medlsam.measure.shape import convex_outline

    mask = ellipse(14, 14 * ratio, degrees, (0.8, 1.1))
    found = recist_diameters(mask, (0.8, 1.1, 2.0))
    ends = np.array(found.longest_zyx)[:, 1:] * (1.1, 0.8)
    along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    across = np.array([-along[1], along[0]])
    steps = np.arange(-12, 12, 0.01)
    polygon = Path(convex_outline(mask[0], (1.1, 0.8)))
    best = max(
        np.count_nonzero(polygon.contains_points(ends[0] + t * along + steps[:, None] * across)) * 0.01
        for t in np.linspace(0, found.longest_mm, 200)
    )
    assert found.perpendicular_mm == pytest.approx(best, abs=0.06)


def test_the_ends_lie_where_the_diameters_are() -> None:
    mask = np.zeros((5, 40, 50), bool)
    mask[3, 10:13, 20:41] = True
    found = recist_diameters(mask, (1.0, 2.0, 3.0))
    assert found.slice_index == 3
    ends = np.array(found.longest_zyx)
    assert set(ends[:, 0]) == {3.0}
    assert np.linalg.norm((ends[1] - ends[0])[1:] * (2.0, 1.0)) == pytest.approx(found.longest_mm)
    assert sorted(ends[:, 2]) == pytest.approx([19.5, 40.5])
    short = np.array(found.perpendicular_zyx)
    assert np.linalg.norm((short[1] - short[0])[1:] * (2.0, 1.0)) == pytest.approx(found.perpendicular_mm)
    long_way, short_way = ((own[1] - own[0])[1:] * (2.0, 1.0) for own in (ends, short))
    assert long_way @ short_way == pytest.approx(0, abs=1e-6)


def test_a_diameter_crosses_a_notch_but_no_gap() -> None:
    notch = np.zeros((1, 20, 30), bool)
    notch[0, 5:15, 5:25] = True
    notch[0, 5:12, 10:20] = False
    assert recist_diameters(notch, (1.0, 1.0, 1.0)).longest_mm > 20
    gap = np.zeros((1, 20, 30), bool)
    gap[0, 5:15, 2:10] = gap[0, 5:15, 18:28] = True
    assert recist_diameters(gap, (1.0, 1.0, 1.0)).longest_mm < 15


def test_a_single_voxel_is_as_wide_as_it_is() -> None:
    found = recist_diameters(np.ones((1, 1, 1), bool), (2.0, 3.0, 4.0))
    assert (found.longest_mm, found.perpendicular_mm) == pytest.approx((3.0, 2.0))
    assert hcuch_axes(np.ones((1, 1, 1), bool), (2.0, 3.0, 4.0)).major_mm == 0


@pytest.mark.parametrize("degrees", [0, 20, 45, 77])
def test_the_box_of_hcuch(degrees: float) -> None:
    """A rectangle of 24 x 10 mm, turned: the box through centres is smaller, that through edges fits to a pixel."""
    y, x = np.mgrid[-40:41, -40:41] * 0.5
    angle = np.deg2rad(degrees)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    mask = ((abs(along) <= 12) & (abs(across) <= 5))[None]
    spacing = (0.5, 0.5, 2.0)
    assert hcuch_diameter(mask, spacing) == pytest.approx(24, abs=0.7)
    assert hcuch_diameter(mask, spacing, node=True) == pytest.approx(10, abs=0.5)
    assert hcuch_diameter(mask, spacing, outline="edges") == pytest.approx(24, abs=0.501)
    # The longest line of a rectangle is its diagonal: what the two measures differ by.
    assert recist_diameters(mask, spacing).longest_mm == pytest.approx(26, abs=0.7)


def test_the_box_of_a_node_is_that_of_the_slice_with_the_longest_major_axis() -> None:
    mask = np.zeros((2, 40, 40), bool)
    mask[0, 5:10, 2:34] = True
    mask[1, 5:25, 2:22] = True
    axes = hcuch_axes(mask, (1.0, 1.0, 1.0))
    assert axes == hcuch_axes(mask[:1], (1.0, 1.0, 1.0))
    assert (axes.major_mm, axes.minor_mm) == pytest.approx((31, 4))


def test_of_several_parts_hcuch_takes_the_largest() -> None:
    mask = np.zeros((1, 30, 60), bool)
    mask[0, 2:3, 2:50] = True
    mask[0, 10:25, 10:20] = True
    assert hcuch_diameter(mask, (1.0, 1.0, 1.0)) == pytest.approx(14)


def test_what_is_no_lesion_is_refused() -> None:
    with pytest.raises(GeometryError, match="some voxel"):
        recist_diameters(np.zeros((2, 3, 4), bool), (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="positive"):
        hcuch_axes(np.ones((2, 3, 4), bool), (1.0, 0.0, 1.0))


def test_sixty_slices_take_less_than_20_ms() -> None:
    z, y, x = np.mgrid[-30:30, -60:61, -60:61]
    mask = (z / 30) ** 2 + ((x * 0.8 + y * 0.6) / 55) ** 2 + ((y * 0.8 - x * 0.6) / 40) ** 2 <= 1
    assert np.count_nonzero(mask.any(axis=(1, 2))) >= 59
    seconds = []
    for _ in range(10):
        start = time.process_time()
        recist_diameters(mask, (0.7, 0.8, 1.0))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.02
