"""Prompts from the truth."""

from __future__ import annotations

from medlsam.evaluation.oracles import in_true_box, map_box
from medlsam.geometry import Box
from medlsam.results import LocatedOrgan


def test_boxes_and_slabs_move_with_their_frame() -> None:
    source, target = Box((0, 0, 0), (10, 20, 40)), Box((5, 5, 5), (15, 25, 25))
    assert map_box(source, source, target) == target
    assert map_box(Box((0, 5, 20), (5, 10, 40)), source, target) == Box((5, 10, 15), (10, 15, 25))
    organ = LocatedOrgan("cube", "missing", 0.1, box=source, slabs=(Box((0, 0, 0), (10, 20, 20)),))
    oracle = in_true_box(organ, target)
    assert oracle.present
    assert oracle.slabs == (Box((5, 5, 5), (15, 25, 15)),)
