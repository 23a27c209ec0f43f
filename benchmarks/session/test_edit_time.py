"""Timing of edits: how a face is dragged, and what is printed of the seconds."""

from __future__ import annotations

import numpy as np

from benchmarks.session import edit_time
from medlsam.geometry import Box


def test_one_face_is_dragged_by_2_to_15_mm() -> None:
    box, random = Box((-30, -30, 100), (30, 30, 160)), np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        moved = edit_time.drag(box, random).faces - box.faces
        (face,) = np.flatnonzero(moved)
        assert 2 <= abs(moved[face]) <= 15
        seen.add((int(face), bool(moved[face] > 0)))
    assert len(seen) == 12
    assert box == Box((-30, -30, 100), (30, 30, 160))


def test_median_and_worst_of_wall_seconds_come_before_the_processors() -> None:
    assert edit_time.figures([(1.0, 0.1), (2.0, 0.2), (9.0, 0.3)]) == ["2.00", "9.00", "0.20", "0.30"]


def test_an_edit_is_made_once_and_timed() -> None:
    made: list[int] = []
    wall, busy = edit_time.timed(lambda: made.append(sum(range(200_000))))
    assert len(made) == 1
    assert wall > 0
    assert busy > 0
