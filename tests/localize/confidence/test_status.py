"""From evidence to a verdict: what each number does, and that every number is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.geometry import Box
from medlsam.localize.confidence.evidence import Evidence, collect_evidence, share_in_view
from medlsam.localize.confidence.status import (
    StatusModel,
    classify,
    features,
    status_model,
    uncalibrated,
)
from medlsam.localize.templates.template_set import StructureCalibration

BOX = Box((-20, -20, -20), (20, 20, 20))
USUAL = {
    "similarity": 0.7, "likeness": 0.8, "surface": 0.75, "contrast": 3.0, "support": 0.4, "relative": 0.1,
    "match_mm": 4.0, "position_mm": 12.0,
    "fit_mm": 6.0, "disagreement_mm": 3.0,
}  # fmt: skip
CALIBRATION = StructureCalibration(4, (3.0,) * 6, (5.0, 6, 7, 8, 9, 10), 0.7, 0.6, USUAL)
GOOD = Evidence(
    similarity=0.7,
    likeness=0.8,
    surface=0.75,
    inside=0.02,
    contrast=3.0,
    support=0.4,
    relative=0.1,
    match_mm=4.0,
    position_mm=12.0,
    fit_mm=6.0,
    moved_mm=10.0,
    vote_spread_mm=15.0,
    disagreement_mm=3.0,
    in_view=1.0,
    votes_in_view=1.0,
    edge_mm=30.0,
)
NOTHING = replace(
    GOOD,
    similarity=0.2,
    likeness=0.1,
    surface=0.1,
    contrast=0.2,
    match_mm=60.0,
    position_mm=50.0,
    fit_mm=20.0,
)
#: Weights of our own, so that these tests do not depend on what was fitted last.
MODEL = StatusModel(
    presence={"bias": 4.0, "similarity": 5.0, "likeness": 5.0, "match": 1.0},
    overlap={"bias": 0.0, "overlap": 1.0, "similarity": 2.0},
    missing_below=0.5,
    uncertain_below=0.9,
    margin_mm=12.0,
    error_mm=6.0,
    iou=0.5,
    usual=USUAL,
)


def test_as_usual_is_found_with_the_usual_overlap() -> None:
    verdict = classify(GOOD, BOX, CALIBRATION, MODEL)
    assert verdict.status == "found"
    assert verdict.margin_mm == (5, 6, 7, 8, 9, 10)
    assert verdict.expected_error_mm == 3.0
    assert verdict.details["expected_overlap"] == pytest.approx(0.6)
    assert verdict.confidence == pytest.approx(0.6 * verdict.details["presence"])


def test_nothing_alike_is_missing_or_out_of_view() -> None:
    assert classify(NOTHING, BOX, CALIBRATION, MODEL).status == "missing"
    assert classify(replace(NOTHING, votes_in_view=0.3), BOX, CALIBRATION, MODEL).status == "out_of_view"
    assert classify(replace(NOTHING, in_view=0.4), BOX, CALIBRATION, MODEL).status == "out_of_view"
    assert classify(replace(GOOD, in_view=0.1), BOX, CALIBRATION, MODEL).status == "out_of_view"


def test_half_way_is_uncertain_and_so_is_a_box_beyond_the_edge() -> None:
    assert classify(replace(GOOD, likeness=0.3), BOX, CALIBRATION, MODEL).status == "uncertain"
    assert classify(replace(GOOD, edge_mm=-3.0), BOX, CALIBRATION, MODEL).status == "uncertain"


@pytest.mark.parametrize("model", [MODEL, None], ids=["own", "shipped"])
def test_confidence_lies_between_0_and_1_and_falls_with_the_evidence(model: StatusModel | None) -> None:
    steps = [
        replace(GOOD, similarity=0.8, likeness=0.9),
        GOOD,
        replace(GOOD, similarity=0.5, likeness=0.5, match_mm=20.0),
        NOTHING,
    ]
    values = [classify(step, BOX, CALIBRATION, model).confidence for step in steps]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < values[0] <= 1


def test_a_structure_that_is_hard_to_locate_gets_less_confidence() -> None:
    hard = replace(CALIBRATION, iou=0.3)
    assert classify(GOOD, BOX, hard).confidence < classify(GOOD, BOX, CALIBRATION).confidence


def test_signs_are_zero_where_all_is_as_usual_and_good_is_more() -> None:
    found = features(classify(GOOD, BOX, CALIBRATION, MODEL).details)
    for name in ("similarity", "likeness", "surface", "contrast", "match", "position", "fit", "disagreement"):
        assert found[name] == pytest.approx(0)
    worse = features(classify(NOTHING, BOX, CALIBRATION, MODEL).details)
    assert all(worse[name] < 0 for name in ("similarity", "likeness", "surface", "match", "position", "fit"))


def test_what_has_no_value_counts_as_usual() -> None:
    """One support has no disagreement, extreme points alone no surface; an old file may lack a number."""
    bare = replace(GOOD, surface=None, contrast=None, disagreement_mm=None, fit_mm=None)
    verdict = classify(bare, BOX, replace(CALIBRATION, usual={"similarity": 0.7}), MODEL)
    found = features(verdict.details)
    assert found["surface"] == found["disagreement"] == found["likeness"] == 0
    assert "surface" not in verdict.details
    assert verdict.status == "found"


def test_every_number_behind_the_verdict_is_told() -> None:
    details = classify(GOOD, BOX, CALIBRATION, MODEL).details
    assert set(GOOD.to_dict()) < set(details)
    assert {f"usual_{name}" for name in USUAL} < set(details)
    assert details["edge_length_mm"] == pytest.approx(40)
    assert all(np.isfinite(list(details.values())))


def test_without_calibration_the_stated_defaults_hold() -> None:
    verdict = classify(GOOD, BOX, None)
    assert verdict.expected_error_mm is None
    assert verdict.margin_mm == (status_model().margin_mm,) * 6
    assert uncalibrated().n == 0
    assert uncalibrated().margin_mm[0] > uncalibrated().face_error_mm[0] > 0


def test_shipped_constants_make_sense() -> None:
    model = status_model()
    assert 0 < model.missing_below < model.uncertain_below < 1
    known = set(features(classify(GOOD, BOX, CALIBRATION).details)) | {"bias"}
    assert set(model.presence) <= known
    assert set(model.overlap) <= known
    # More evidence never speaks against a structure, or a better answer would be called missing.
    assert all(weight >= 0 for name, weight in model.presence.items() if name != "bias")


def test_share_in_view() -> None:
    view = (np.array([0.0, -100, -100]), np.array([100.0, 100, 100]))
    assert share_in_view(BOX, view) == pytest.approx(0.5)
    assert share_in_view(Box((-50, 0, 0), (-40, 10, 10)), view) == 0.0


def test_evidence_of_an_answer_in_a_scan_and_beside_it() -> None:
    """At the true place everything fits; at another place of the same scan nothing does."""
    from medlsam.localize.search.candidate import Candidate
    from tests.localize.test_locate import STRUCTURES, template
    from tests.support.fakes.fake_embedding import fake_embedding

    scan = fake_embedding()
    one = template("a", STRUCTURES["left"], scan)
    points = one.points[None].astype(float)
    there = Candidate(points, points[:, :33], 0.99, 5.0, 1.0)
    right = collect_evidence(scan, [one], there, there.box)
    assert right.likeness > 0.98
    assert right.match_mm < 3
    assert right.position_mm < 1
    assert right.disagreement_mm is None
    assert right.in_view == right.votes_in_view == 1.0
    beside = Candidate(points + np.array([0.0, 70.0, 0.0]), points[:, :33], 0.6, 5.0, 1.0)
    wrong = collect_evidence(scan, [one], beside, beside.box)
    assert wrong.likeness < right.likeness - 0.3
    assert wrong.match_mm > 10
    assert wrong.position_mm == pytest.approx(70, abs=10)
    assert wrong.moved_mm == pytest.approx(70)
    assert wrong.edge_mm < right.edge_mm
