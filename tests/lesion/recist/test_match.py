"""Lesions of two visits: pairs, new and vanished ones, splits, merges and doubts; and the way by anatomy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medlsam.lesion.recist.anatomy import map_anatomy
from medlsam.lesion.recist.match import Matching, match_lesions, match_mapped
from tests.support.fakes.fake_embedding import fake_embedding
from tests.support.lesions import lesion


def match(before: list[Any], after: list[Any], shown: list[bool] | None = None) -> Matching:
    mapped = np.array([own.measured.center for own in before]).reshape(-1, 3)
    return match_mapped(
        before, mapped, np.array([True] * len(before) if shown is None else shown, bool), after
    )


def pairs(found: Matching) -> list[tuple[int, int]]:
    return [(own.before, own.after) for own in found.pairs]


def test_the_nearest_together_is_not_each_ones_nearest() -> None:
    """One to one: the middle one of the later visit is nearest to both of the earlier."""
    before = [lesion(1, 8, center=(0, 0, 0)), lesion(2, 8, center=(12, 0, 0))]
    after = [lesion(1, 8, center=(6, 0, 0)), lesion(2, 8, center=(17, 0, 0))]
    assert pairs(match(before, after)) == [(0, 0), (1, 1)]


def test_new_and_vanished_are_named() -> None:
    before = [
        lesion(1, 10, center=(0, 0, 0)),
        lesion(2, 10, center=(60, 0, 0)),
        lesion(3, 10, center=(0, 90, 0)),
    ]
    after = [lesion(1, 12, center=(2, 0, 1)), lesion(2, 12, center=(-50, 0, 0))]
    found = match(before, after, [True, True, False])
    assert pairs(found) == [(0, 0)]
    assert (found.vanished, found.out_of_view, found.new) == ((1,), (2,), (1,))
    assert found.pairs[0].distance_mm == pytest.approx(np.hypot(2, 1))
    assert found.pairs[0].ambiguous == ()
    nobody = match([], after)
    assert (nobody.new, nobody.pairs) == ((0, 1), ())
    assert match(before, []).vanished == (0, 1, 2)


def test_a_large_lesion_may_move_further() -> None:
    far = (18.0, 0.0, 0.0)
    assert pairs(match([lesion(1, 8)], [lesion(1, 8, center=far)])) == []
    assert pairs(match([lesion(1, 40)], [lesion(1, 44, center=far)])) == [(0, 0)]


def test_organs_and_sizes_help() -> None:
    before = [lesion(1, 10, "m,liver", center=(0, 0, 0)), lesion(2, 10, "m,lung", center=(8, 0, 0))]
    after = [lesion(1, 10, "m,lung", center=(4, 1, 0)), lesion(2, 10, "m,liver", center=(4, -1, 0))]
    assert pairs(match(before, after)) == [(0, 1), (1, 0)]
    before = [lesion(1, 6, "", center=(0, 0, 0)), lesion(2, 16, "", center=(8, 0, 0))]
    after = [lesion(1, 16, "", center=(4, 1, 0)), lesion(2, 6, "", center=(4, -1, 0))]
    assert pairs(match(before, after)) == [(0, 1), (1, 0)]


def test_a_doubt_is_named() -> None:
    before = [lesion(1, 8, center=(0, 0, 0)), lesion(2, 8, center=(8, 0, 0))]
    after = [lesion(1, 8, center=(4, 1, 0)), lesion(2, 8, center=(4, -1, 0))]
    assert all(len(own.ambiguous) == 1 for own in match(before, after).pairs)
    edge = match([lesion(1, 8)], [lesion(1, 8, center=(14, 0, 0))])
    assert [own.ambiguous for own in edge.pairs] == [(-1,)]


def test_a_lesion_splits_and_two_merge() -> None:
    whole = [lesion(1, 40, center=(0, 0, 0)), lesion(2, 10, center=(90, 0, 0))]
    parts = [
        lesion(1, 16, center=(-9, 0, 0)),
        lesion(2, 18, center=(9, 0, 0)),
        lesion(3, 10, center=(90, 0, 0)),
    ]
    split = match(whole, parts)
    assert split.splits == {0: (0,)} or split.splits == {0: (1,)}
    assert (split.new, split.vanished) == ((), ())
    merged = match(parts, whole)
    assert set(merged.merges.values()) == {0}
    assert (merged.new, merged.vanished) == ((), ())


def test_places_are_found_in_a_scan_that_lies_elsewhere() -> None:
    """The reference anatomy 5 % larger and elsewhere: some millimetres of the search's own are left."""
    shift = np.array([35.0, -20.0, 400.0])
    anatomy = map_anatomy(fake_embedding(), fake_embedding((35.0, -20.0, 400.0), scale=1.05))
    points = np.array([[10.0, 20.0, -30.0], [-50.0, 40.0, 25.0], [0.0, -60.0, 60.0]])
    found = anatomy.apply(points)
    assert np.linalg.norm(found - (1.05 * points + shift), axis=1).max() < 5
    assert anatomy.shows(found).all()
    assert anatomy.apply([]).shape == (0, 3)
    assert not anatomy.shows([[0.0, 0.0, 0.0]])[0]


def test_lesions_are_matched_by_anatomy() -> None:
    places = [(10.0, 20.0, -30.0), (-50.0, 40.0, 25.0), (0.0, -60.0, 60.0)]
    before = [lesion(number, 12, center=place) for number, place in enumerate(places, start=1)]
    moved = [tuple(np.add(place, (35.0, -20.0, 400.0)).tolist()) for place in places]
    after = [
        lesion(1, 14, center=moved[2]),
        lesion(2, 9, center=moved[0]),
        lesion(3, 20, center=(95, 40, 390)),
    ]
    found = match_lesions(before, fake_embedding(), after, fake_embedding((35.0, -20.0, 400.0)))
    assert pairs(found) == [(0, 1), (2, 0)]
    assert (found.vanished, found.new) == ((1,), (2,))


def test_a_network_without_features_of_whole_scans_votes() -> None:
    class Bare:
        """Only what the paper's network can do."""

        def __init__(self, whole: Any) -> None:
            self.whole = whole

        def body_lattice(self, step_mm: float) -> None:
            return None

        def __getattr__(self, name: str) -> Any:
            return getattr(self.whole, name)

    anatomy = map_anatomy(Bare(fake_embedding()), Bare(fake_embedding((10.0, 0.0, 50.0))))
    assert anatomy.alignment is None
    assert anatomy.apply([[10.0, 20.0, -30.0]])[0] == pytest.approx((20, 20, 20), abs=3)
