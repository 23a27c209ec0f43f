"""One structure's points: faces, box, what is missing, and what is off the box."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.errors import UsageError
from medlsam.geometry import FACES, Box, ExtremePoints
from medlsam.viewer.annotate.marks import StructureMarks, assign_faces

#: x-, x+, y-, y+, z-, z+ of a structure.
POINTS = ((1, 4, 4), (9, 4, 5), (5, 0, 5), (4, 8, 5), (5, 5, -3), (5, 5, 9))


def placed(points, faces=None):
    marks = StructureMarks()
    for n, point in enumerate(points):
        marks = marks.with_point(tuple(map(float, point)), faces[n] if faces else None)
    return marks


@pytest.mark.parametrize("order", [*itertools.permutations(range(6))][::37])
def test_points_in_any_order_get_their_faces(order):
    marks = placed([POINTS[n] for n in order])
    assert marks.loose == ()
    assert [marks.faces[face] for face in FACES] == [tuple(map(float, p)) for p in POINTS]
    assert marks.complete
    assert marks.extremes.box == Box((1, 0, -3), (9, 8, 9))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(*[st.integers(-50, 50)] * 3), min_size=6, max_size=6, unique=True))
def test_no_assignment_of_faces_has_a_smaller_misfit(points):
    array = np.asarray(points, dtype=float)

    ends = [(array.min(axis=0), array.max(axis=0))[n % 2][n // 2] for n in range(6)]

    def misfit(chosen):
        return sum(abs(chosen[n][n // 2] - ends[n]) for n in range(6))

    found = assign_faces(points)
    assert sorted(found.values()) == sorted(points)
    best = min(misfit(chosen) for chosen in itertools.permutations(points))
    assert misfit([found[face] for face in FACES]) == pytest.approx(best)


def test_faces_that_were_named_stay_and_the_others_are_found():
    marks = placed([POINTS[5], POINTS[0], POINTS[2]], ["z+", "x-", "y-"])
    assert marks.missing == ("x+", "y+", "z-")
    assert marks.remaining == 3
    for point in (POINTS[4], POINTS[1], POINTS[3]):
        marks = marks.with_point(point)
    assert [marks.faces[face] for face in FACES] == list(map(tuple, POINTS))
    assert marks.missing == ()


def test_the_box_grows_with_the_points_and_is_that_of_a_reader():
    assert placed(POINTS[:1]).box is None
    assert placed(POINTS[:2]).box == Box((1, 4, 4), (9, 4, 5))
    marks = placed(POINTS)
    assert marks.box == ExtremePoints.from_unordered(POINTS).box == marks.extremes.box
    assert marks.off_box == {}
    assert marks.notes == ()


def test_a_dragged_face_moves_its_point_alone_and_says_when_it_left_the_box():
    marks = placed(POINTS).with_face_at("x+", 7)
    assert marks.faces["x+"] == (7, 4, 5)
    assert marks.box == Box((1, 0, -3), (7, 8, 9))
    assert marks.notes == ()
    further = marks.with_face_at("x+", 4.5)
    # The points of y- and z- lie at x = 5: the box ends there.
    assert further.box.max[0] == 5
    assert list(further.off_box) == ["x+"]
    assert "the point of the left side is not on the box: the point of the" in further.notes[0]
    with pytest.raises(UsageError, match=r"the front \(y-\) has no point yet"):
        StructureMarks().with_face_at("y-", 1)


def test_crossed_faces_change_places():
    marks = placed(POINTS).with_face_at("x+", -4)
    assert marks.faces["x-"] == (-4, 4, 5)
    assert marks.box == Box((-4, 0, -3), (5, 8, 9))
    assert placed([*POINTS[4:], *POINTS[:4]], ["z+", "z-", *FACES[:4]]).faces["z+"] == POINTS[5]


def test_a_seventh_point_and_an_unknown_face_are_refused():
    with pytest.raises(UsageError, match="six points are placed already"):
        placed(POINTS).with_point((0, 0, 0))
    with pytest.raises(UsageError, match="'up' is no face; faces are x-"):
        StructureMarks().with_point((0, 0, 0), "up")
    assert placed(POINTS).with_point((0, 4, 4), "x-").box.min[0] == 0


def test_points_go_one_by_one():
    marks = placed(POINTS[:3], ["x-", "x+", "y-"]).with_point((1, 1, 1)).with_point((2, 2, 2))
    assert marks.without_point(0).loose == ((2, 2, 2),)
    assert marks.without_point("x+").missing == ("x+", "y+", "z-", "z+")
    for which, words in ((2, "no point 2"), (-1, "no point -1"), ("z+", "has no point")):
        with pytest.raises(UsageError, match=words):
            marks.without_point(which)


def test_six_points_in_a_plane_are_no_template():
    marks = placed([(x, y, 0) for x, y, _ in POINTS])
    assert not marks.complete
    assert marks.extremes is None
    assert "lie in one plane" in marks.notes[0]


def test_absence_is_an_answer_that_a_point_takes_back():
    absent = StructureMarks(absent=True)
    assert absent.answered
    assert not absent.complete
    assert absent.missing == ()
    assert not absent.with_point((1, 2, 3)).absent
