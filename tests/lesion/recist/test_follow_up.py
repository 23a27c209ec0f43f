"""A patient's visits: tracks, sums, roles, responses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from medlsam.errors import UsageError
from medlsam.lesion.recist.cautions import follow_up_cautions, mask_cautions
from medlsam.lesion.recist.correlation import volume_diameter_correlation
from medlsam.lesion.recist.follow_up import Visit, follow_up
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.tables import (
    FOLLOW_UP_COLUMNS,
    LESION_COLUMNS,
    follow_up_document,
    follow_up_rows,
    lesion_row,
)
from tests.support.fakes.fake_embedding import fake_embedding
from tests.support.lesions import lesion

LIVER, LUNG, NODE, FAR = (20.0, 10.0, -40.0), (-40.0, 0.0, 50.0), (0.0, 40.0, 0.0), (50.0, -50.0, 20.0)


def visit(name: str, *lesions: Any, z: float = 0.0) -> Visit:
    """Lesions given in the anatomy, in a scan that lies ``z`` higher."""
    moved = [
        lesion(
            own.id, own.measured.longest_mm, str(own.kind), own.measured.perpendicular_mm,
            (own.measured.center[0], own.measured.center[1], own.measured.center[2] + z), voxels=own.measured.voxels,
        )
        for own in lesions
    ]  # fmt: skip
    return Visit(name, tuple(moved), fake_embedding((0.0, 0.0, z)))


BASELINE = visit(
    "baseline", lesion(1, 40, "m,liver", center=LIVER), lesion(2, 30, "n,iliac", 20, center=NODE)
)


def test_a_patient_who_answers_and_relapses() -> None:
    better = visit(
        "3", lesion(7, 20, "m,liver", center=LIVER), lesion(4, 20, "n,iliac", 12, center=NODE), z=100
    )
    worse = visit(
        "6", lesion(1, 30, "m,liver", center=LIVER), lesion(2, 20, "n,iliac", 12, center=NODE),
        lesion(3, 14, "m,lung", center=LUNG), z=-60,
    )  # fmt: skip
    found = follow_up([BASELINE, better, worse])
    assert [(own.alias, own.role) for own in found.tracks] == [("A", "target"), ("B", "target"), ("", "new")]
    assert found.sums_mm == pytest.approx((60, 32, 42))
    assert [str(own.overall) for own in found.assessments] == ["PR", "PD"]
    assert found.assessments[1].from_nadir == pytest.approx(10 / 32)
    assert found.assessments[1].new_lesions == 1
    assert [own.state for own in found.tracks[2].sightings] == ["not_yet", "not_yet", "measured"]
    assert [own.lesions[0].id for own in found.tracks[0].sightings] == [1, 7, 1]
    rows = follow_up_rows(found)
    assert len(rows) == 9
    assert rows[1]["diameter_mm"] == 20.0
    document = follow_up_document(found)
    assert [own.get("response") for own in document["visits"]] == [None, "PR", "PD"]
    assert document["visits"][2]["new"] == [3]


def test_vanished_is_zero_and_comes_back_as_itself() -> None:
    nodes_normal = visit("3", lesion(1, 12, "n,iliac", 8, center=NODE))
    back = visit("6", lesion(5, 9, "m,liver", center=LIVER), lesion(1, 12, "n,iliac", 8, center=NODE))
    found = follow_up([BASELINE, nodes_normal, back])
    assert [own.state for own in found.tracks[0].sightings] == ["measured", "vanished", "measured"]
    assert [str(own.overall) for own in found.assessments] == ["CR", "PD"]
    assert len(found.tracks) == 2


def test_what_lies_outside_of_the_later_scan_is_not_evaluated() -> None:
    high = Visit("3", (lesion(2, 30, "n,iliac", 20, center=NODE),), fake_embedding())
    low = Visit("b", (*high.lesions, lesion(1, 40, "m,liver", center=(20.0, 10.0, -129.0))), fake_embedding())
    found = follow_up([low, high])
    assert found.tracks[1].sightings[1].state == "not_evaluated"
    assert found.sums_mm[1] is None
    assert str(found.assessments[0].overall) == "NE"


def test_small_things_are_followed_but_do_not_count() -> None:
    """A speck that grows was there; one that never does is nothing; a target that shrinks is not gone."""
    speck, dot = lesion(3, 4, "m,lung", center=LUNG), lesion(4, 3, "m,lung", center=FAR)
    baseline = visit("baseline", *BASELINE.lesions, speck, dot)
    later = visit(
        "3", lesion(1, 4, "m,liver", center=LIVER), lesion(2, 30, "n,iliac", 20, center=NODE),
        lesion(3, 14, "m,lung", center=LUNG), lesion(4, 3, "m,lung", center=FAR),
    )  # fmt: skip
    found = follow_up([baseline, later])
    assert [own.role for own in found.tracks] == ["target", "target", "non-target", "too small"]
    assert found.tracks[0].sightings[1].diameter_mm == 4
    assert found.assessments[0].new_lesions == 0
    assert str(found.assessments[0].overall) == "PR"


def test_a_new_normal_node_is_no_new_lesion() -> None:
    later = visit("3", *BASELINE.lesions, lesion(3, 20, "n,mediastinum", 9, center=LUNG))
    assert follow_up([BASELINE, later]).assessments[0].new_lesions == 0
    larger = visit("3", *BASELINE.lesions, lesion(3, 20, "n,mediastinum", 10, center=LUNG))
    assert follow_up([BASELINE, larger]).assessments[0].new_lesions == 1


def test_a_normal_node_that_grows_is_a_new_lesion() -> None:
    """It is no lesion at baseline, so it can be no non-target one; and a pixel more makes no progression."""
    node = lesion(3, 20, "n,mediastinum", 9, center=LUNG)
    first = visit("baseline", *BASELINE.lesions, node)
    slightly = visit("3", *BASELINE.lesions, lesion(3, 20, "n,mediastinum", 10.5, center=LUNG))
    grown = visit("6", *BASELINE.lesions, lesion(3, 30, "n,mediastinum", 25, center=LUNG))
    found = follow_up([first, slightly, grown])
    assert found.tracks[2].role == "normal node"
    assert [own.new_lesions for own in found.assessments] == [0, 1]
    assert [str(own.overall) for own in found.assessments] == ["SD", "PD"]
    assert found.new == ((), (), (3,))
    assert [own.get("new") for own in follow_up_document(found)["visits"]] == [None, [], [3]]


def test_a_visit_that_could_not_be_read_is_not_evaluable_and_stays_in_its_place() -> None:
    better = visit("6", lesion(1, 20, "m,liver", center=LIVER), lesion(2, 20, "n,iliac", 12, center=NODE))
    found = follow_up([BASELINE, Visit("3", (), None, unread="3/lesions.nii.gz: damaged"), better])
    assert [str(own.overall) for own in found.assessments] == ["NE", "PR"]
    assert found.assessments[0].reason == "3/lesions.nii.gz: damaged"
    assert [own.state for own in found.tracks[0].sightings] == ["measured", "not_evaluated", "measured"]
    assert found.sums_mm == pytest.approx((60, None, 32))
    json.dumps(follow_up_document(found), allow_nan=False)
    with pytest.raises(UsageError, match="baseline could not be read: damaged"):
        follow_up([Visit("b", (), None, unread="damaged"), better])


def test_columns_are_those_of_the_rows() -> None:
    rows = follow_up_rows(follow_up([BASELINE, BASELINE]))
    assert list(rows[0]) == list(FOLLOW_UP_COLUMNS)
    assert list({"case": ""} | lesion_row(BASELINE.lesions[0])) == list(LESION_COLUMNS)


def test_what_a_person_has_to_look_at() -> None:
    """Another patient's scan, an empty mask, targets that are none by the guideline, organs that nobody says."""
    others = visit("3", lesion(1, 40, "m,lung", center=LUNG), lesion(2, 30, "m,colon", center=FAR))
    empty = visit("6")
    visits = [BASELINE, others, empty]
    said = list(follow_up_cautions(follow_up(visits, targets=[1]), visits, 50))
    assert said == [
        "3: no lesion of an earlier visit is found again, but others are there: is it the same patient?",
        "6: no lesion of an earlier visit is found again; its mask is empty",
    ]
    nodes = visit("b", *(lesion(i, 30, "n,iliac", 14, center=(0, 30 * i, 0)) for i in (-1, 0, 1)))
    said = list(follow_up_cautions(follow_up([nodes, nodes], targets=[-1, 0, 1]), [nodes, nodes], 50))
    assert said == [
        *(f"b: target {alias} is pathological: none by RECIST 1.1" for alias in "ABC"),
        "b: 3 targets are lymph nodes; RECIST 1.1 allows 2",
    ]
    nameless = visit("b", *(lesion(i, 30, "", center=(0, 30 * i, 0)) for i in (-1, 0, 1)))
    (only,) = follow_up_cautions(follow_up([nameless, nameless]), [nameless, nameless], 50)
    assert only.startswith("b: nobody says the organ of 3 lesions")
    parts = lesion(1, 30)
    twice = Lesion(replace(parts.measured, parts=2), Kind())
    assert [text[:26] for text in mask_cautions("b", [twice, parts], "k.json")] == [
        "b: k.json does not say wha", "b: value 1 lies in 2 parts",
    ]  # fmt: skip
    assert list(mask_cautions("b", [parts])) == []
    off = visit("3", lesion(1, 40, "m,liver", center=LIVER, cut_off=True), *BASELINE.lesions[1:])
    off = replace(
        off,
        lesions=(
            replace(off.lesions[0], measured=replace(off.lesions[0].measured, cut_off=True)),
            *off.lesions[1:],
        ),
    )
    assert list(follow_up_cautions(follow_up([BASELINE, off]), [BASELINE, off], 50)) == [
        "3: target A goes on outside of the scan: it may be larger than measured"
    ]
    coarse, speck = lesion(7, 16, voxels=33), lesion(8, 5, center=FAR, voxels=20)
    visits = [visit("b", coarse), visit("3", coarse, speck)]
    assert list(follow_up_cautions(follow_up(visits), visits, 50)) == [
        "b: lesion 7 of 16.0 mm is no target, since it has 33 voxels of at least 50; --least-voxels says how many",
        "3: lesion 8 was not there before, but never has 50 voxels: it does not count as new; --least-voxels says how "
        "many",
    ]


def test_without_targets_there_is_no_sum() -> None:
    """Only a lesion of 8 mm: no sum is not a sum of 0 mm."""
    small = visit("b", lesion(1, 8, "m,liver", center=LIVER))
    found = follow_up([small, visit("3", lesion(1, 8, "m,liver", center=LIVER))])
    assert found.sums_mm == (None, None)
    assert (found.assessments[0].sum_mm, str(found.assessments[0].overall)) == (None, "non-CR/non-PD")


def test_more_than_five_targets_are_refused() -> None:
    six = visit("b", *(lesion(i, 20, "m,lung", center=(0, 25 * i - 60, 0)) for i in range(6)))
    with pytest.raises(UsageError, match="6 targets; RECIST 1.1 has at most 5"):
        follow_up([six, six], targets=range(6))


def test_parts_of_a_split_lesion_are_added() -> None:
    x, y, z = LIVER
    later = visit(
        "3", lesion(1, 14, center=(x - 8, y, z)), lesion(2, 15, center=(x + 8, y, z)),
        lesion(3, 30, "n,iliac", 20, center=NODE),
    )  # fmt: skip
    found = follow_up([BASELINE, later])
    assert found.tracks[0].sightings[1].diameter_mm == 29
    assert found.assessments[0].new_lesions == 0


def test_a_target_that_merges_is_not_gone() -> None:
    """Two targets that become one are counted once; a target that a non-target lesion took in is not evaluated."""
    near = (LIVER[0] + 12, *LIVER[1:])
    two = visit("b", lesion(1, 16, "m,liver", center=LIVER), lesion(2, 14, "m,liver", center=near))
    one = visit("3", lesion(1, 32, "m,liver", center=(LIVER[0] + 5, *LIVER[1:])))
    both = follow_up([two, one])
    assert [own.sightings[1].state for own in both.tracks] == ["measured", "merged"]
    assert both.tracks[1].sightings[1].merged_into == 1
    assert both.sums_mm == pytest.approx((30, 32))
    alone = follow_up([two, one], targets=[2])
    assert alone.sums_mm[1] is None
    assert str(alone.assessments[0].overall) == "NE", "a complete response would be false"


def test_a_person_may_choose_the_targets() -> None:
    found = follow_up([BASELINE, BASELINE], targets=[2])
    assert [own.role for own in found.tracks] == ["non-target", "target"]
    assert found.sums_mm == (20, 20)
    with pytest.raises(UsageError, match="no lesion 9"):
        follow_up([BASELINE, BASELINE], targets=[9])
    with pytest.raises(UsageError, match="a later visit"):
        follow_up([BASELINE])


def test_volume_and_diameter_are_correlated_where_there_are_enough() -> None:
    lesions = [lesion(i, 10 + i, "m,lung" if i % 2 else "m,liver") for i in range(24)]
    found = volume_diameter_correlation(lesions)
    assert [(own.organ, own.n) for own in found] == [("all", 24), ("liver", 12), ("lung", 12)]
    assert all(own.rho == pytest.approx(1) for own in found)
    assert volume_diameter_correlation(lesions[:9]) == []
    # Lesions that are all alike have no rank, and NaN is no JSON.
    assert volume_diameter_correlation([lesion(i, 10) for i in range(12)]) == []
