"""From marks to prompts: ellipses of diameters, policies, and points without a size."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import GeometryError
from medlsam.geometry import Box, Grid
from medlsam.lesion.propagate.key_slice import key_slice, recist_ellipse
from medlsam.lesion.propagate.planes import tight_box
from medlsam.lesion.propagate.prompt_policy import POLICIES, PromptPolicy, key_prompt, segment_key_slice
from medlsam.lesion.propagate.prompts import LesionPrompt, Line
from tests.lesion.propagate.scans import CENTER, GRID, SeesDark, ball, scan


def lps(x: float, y: float, z: float = CENTER[0]) -> tuple[float, float, float]:
    a, b, c = GRID.ijk_to_lps((x, y, z)).tolist()
    return (a, b, c)


def line(first: tuple[float, float], last: tuple[float, float]) -> Line:
    return lps(*first), lps(*last)


X0, Y0, X1, Y1 = tight_box(ball()[CENTER[0]])
DRAWN = LesionPrompt("a", box=Box(lps(X0, Y0), lps(X1, Y1)))


def test_the_ellipse_of_two_diameters_has_their_ends_on_its_edge() -> None:
    # along x 20 pixels of 1.5 mm, along y 10 of 2 mm, crossing beside the middle
    ellipse, box = recist_ellipse(
        LesionPrompt("a", long=line((20, 30), (40, 30)), short=line((28, 27), (28, 37))), GRID
    )
    assert box == pytest.approx((20, 27, 40, 37), abs=0.02)
    assert ellipse[30, 21]
    assert ellipse[30, 39]
    assert ellipse[36, 28]
    assert not ellipse[36, 38], "no rectangle"
    area = ellipse.sum()
    assert area == pytest.approx(np.pi * 10 * 5, rel=0.06)


def test_the_ellipse_turns_with_the_diameters() -> None:
    _, box = recist_ellipse(LesionPrompt("a", long=line((20, 20), (40, 35))), GRID)  # 30 mm each way
    # half axes a = 15 sqrt(2) along the diagonal and 0.75 a across it
    half = np.sqrt((15**2 * 2) * (1 + 0.75**2) / 2)
    assert box == pytest.approx(
        (30 - half / 1.5, 27.5 - half / 2, 30 + half / 1.5, 27.5 + half / 2), abs=0.05
    )


def test_key_slices_are_the_nearest_and_inside() -> None:
    assert key_slice(LesionPrompt("a", point=lps(3, 3, 12.4)), GRID) == 12
    assert key_slice(LesionPrompt("a", point=lps(3, 3, -0.4)), GRID) == 0
    with pytest.raises(GeometryError, match="a: marked at z = 0.0 mm, but the scan reaches from -201.5"):
        key_slice(LesionPrompt("a", point=(0, 0, 0)), GRID)
    with pytest.raises(GeometryError, match="were RAS coordinates given as LPS"):
        segment_key_slice(SeesDark(), scan(), LesionPrompt("a", box=Box((900, 0, -170), (910, 9, -170))))


def test_a_mark_lies_in_one_slice_of_the_scan() -> None:
    one, other = lps(20, 20, 12), lps(30, 20, 14)  # 6 mm apart in slices of 3 mm
    key_slice(LesionPrompt("a", long=(one, lps(30, 20, 13))), GRID)
    thin = Grid(GRID.shape_zyx, (1.5, 2.0, 0.5), GRID.origin_xyz)
    with pytest.raises(
        GeometryError, match="a: the end of a diameter lies at z = .*; draw all of it in one axial"
    ):
        key_slice(LesionPrompt("a", long=((0, 20, -199.0), (9, 20, -194.1))), thin)
    box = Box(lps(20, 20), lps(40, 40))
    with pytest.raises(GeometryError, match="a point outside lies at"):
        key_slice(LesionPrompt("a", box=box, outside=(other,)), GRID)
    with pytest.raises(GeometryError, match="the point lies at"):
        key_slice(LesionPrompt("a", box=box, point=other), GRID)
    for x, y in ((-1.0, 20), (20, GRID.shape_zyx[1])):
        with pytest.raises(GeometryError, match="lies outside of the scan"):
            segment_key_slice(SeesDark(), scan(), LesionPrompt("a", point=lps(x, y)))


def test_policies_scale_and_add_points() -> None:
    assert len({policy.name for policy in POLICIES}) == 20
    box = (10.0, 20.0, 30.0, 24.0)
    made = key_prompt(
        DRAWN, GRID, PromptPolicy(0.5, center_point=True, outside_points=True, error_mm=2.0), box
    )
    assert made.box_xyxy == (15.0, 21.0, 25.0, 23.0)
    assert (made.point_xy, made.error_mm, made.z) == ((20.0, 22.0), 2.0, CENTER[0])
    assert made.outside_xy[0] == pytest.approx((8.0, 22.0)), "beyond the box as it was drawn"
    own = LesionPrompt("a", box=DRAWN.box, point=lps(12, 21), outside=(lps(1, 2),))
    made = key_prompt(own, GRID, PromptPolicy(center_point=True), box)
    assert made.point_xy == pytest.approx((12, 21)), "a person's own point counts before the centre"
    assert made.outside_xy[0] == pytest.approx((1, 2))


def test_the_key_slice_is_segmented_from_each_kind_of_mark() -> None:
    mask = ball()[CENTER[0]]
    seer = SeesDark()
    z, plane = segment_key_slice(seer, scan(), DRAWN)
    assert z == CENTER[0]
    assert np.array_equal(plane >= 0.5, mask)
    assert seer.asked[0].box_xyxy == pytest.approx((X0, Y0, X1, Y1))
    diameters = LesionPrompt("a", long=line((21, 28), (45, 28)), short=line((33, 19), (33, 37)))
    seer = SeesDark()
    _, plane = segment_key_slice(seer, scan(), diameters)
    assert np.array_equal(plane >= 0.5, mask)
    assert (seer.masks[0]["key"].probability[0] > 0).sum() == pytest.approx(np.pi * 12 * 9, rel=0.05), (
        "their ellipse"
    )
    segment_key_slice(seer, scan(), diameters, PromptPolicy())
    assert not seer.masks[1], "no mask prompt where the policy says so"
    point = LesionPrompt("a", point=lps(33, 28))
    _, plane = segment_key_slice(SeesDark(), scan(), point)
    assert (plane[mask] >= 0.5).mean() > 0.95
    assert not (plane >= 0.5)[~mask].any()
