"""What locating templates with each other gives: errors, margins that hold, and defaults where nothing can be tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medlsam.localize.build_templates import build_templates
from medlsam.localize.confidence.leave_one_out import (
    PAPER_MARGIN_MM,
    calibrated,
    leave_one_out,
    locate_each_other,
    margins,
    with_paper_margin,
)
from medlsam.localize.confidence.status import uncalibrated
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.templates.issues import TemplateIssue
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import LabelMap
from tests.localize.test_locate import STRUCTURES, template
from tests.support.fakes.fake_embedding import fake_embedding

SHIFTS = {"a": (0.0, 0.0, 0.0), "b": (12.0, 4.0, -8.0), "c": (-8.0, 16.0, 4.0)}


@pytest.fixture(scope="module")
def scans() -> dict[str, Embedding]:
    return {name: fake_embedding(shift) for name, shift in SHIFTS.items()}


@pytest.fixture(scope="module")
def templates(scans: dict[str, Embedding]) -> TemplateSet:
    groups = {
        structure: tuple(template(name, box, scans[name], SHIFTS[name]) for name in SHIFTS)
        for structure, box in STRUCTURES.items()
    }
    return TemplateSet({"left": 1, "right": 2}, groups, "signature")


@pytest.fixture(scope="module")
def known(templates: TemplateSet, scans: dict[str, Embedding]) -> TemplateSet:
    return calibrated(templates, scans)


def test_good_templates_are_calibrated_and_fit(known: TemplateSet) -> None:
    assert known.issues == ()
    assert set(known.outlier_scores) == set(SHIFTS)
    for structure in STRUCTURES:
        found = known.calibration[structure]
        assert found.n == 3
        assert found.iou > 0.75
        assert max(found.face_error_mm) < 5
        assert all(m >= e for m, e in zip(found.margin_mm, found.face_error_mm, strict=True))
        assert found.usual["likeness"] > 0.9
        assert known.outlier_scores["a"][structure] < 0.5


def test_the_left_out_answer_is_what_locating_with_the_others_gives(
    templates: TemplateSet, scans: dict[str, Embedding]
) -> None:
    answers = locate_each_other(templates, scans, SearchOptions())
    trials = leave_one_out(templates, scans, answers, SearchOptions())
    assert len(trials) == 6
    for trial in trials:
        rest = templates.without(trial.template)
        box = locate(scans[trial.template], rest)[trial.structure].box
        own = next(s for s in templates.by_structure[trial.structure] if s.template == trial.template).box
        assert box is not None
        assert np.abs(trial.error_mm - (box.faces - own.faces)).max() < 1.5
        assert trial.iou == pytest.approx(box.iou(own), abs=0.06)


def test_a_planted_swap_is_found_and_named(templates: TemplateSet, scans: dict[str, Embedding]) -> None:
    left, right = list(templates.by_structure["left"]), list(templates.by_structure["right"])
    left[1], right[1] = right[1], left[1]
    bad = replace(templates, by_structure={"left": tuple(left), "right": tuple(right)})
    issues = calibrated(bad, scans).issues
    assert [(f.templates, f.kind) for f in issues] == [(("b",), "left_right")]


def test_a_structure_of_one_support_is_expected_to_do_as_the_others(
    templates: TemplateSet, scans: dict[str, Embedding]
) -> None:
    lone = replace(
        templates,
        by_structure={"left": templates.by_structure["left"], "right": templates.by_structure["right"][:1]},
    )
    known = calibrated(lone, scans)
    assert (known.calibration["left"].n, known.calibration["right"].n) == (3, 0)
    assert known.calibration["right"].iou == pytest.approx(known.calibration["left"].iou)
    assert len(set(np.round(known.calibration["right"].margin_mm, 6))) == 1
    verdict = locate(scans["b"], known.select(["right"]))["right"]
    assert verdict.expected_error_mm is None
    assert verdict.status == "found"


def test_one_support_gets_the_stated_defaults(templates: TemplateSet, scans: dict[str, Embedding]) -> None:
    lone = replace(templates, by_structure={"left": templates.by_structure["left"][:1]}, values={"left": 1})
    known = calibrated(lone, scans)
    assert known.issues == ()
    assert known.outlier_scores == {}
    assert known.calibration["left"] == uncalibrated()


def test_the_papers_margin_takes_the_place_of_ours(known: TemplateSet, scans: dict[str, Embedding]) -> None:
    found = locate(scans["a"], with_paper_margin(known))["left"]
    assert found.box is not None
    assert found.prompt_box is not None
    grown = np.abs(found.prompt_box.faces - found.box.faces)
    assert np.allclose(grown, PAPER_MARGIN_MM)
    assert known.calibration["left"].margin_mm != PAPER_MARGIN_MM


@pytest.mark.parametrize(("count", "low", "high"), [(2, 0.8, 0.95), (5, 0.83, 0.95), (20, 0.86, 0.94)])
def test_margins_cover_what_they_promise(count: int, low: float, high: float) -> None:
    """Faces differ in how well they are found; the share of new faces within their margins is the promised one."""
    rng = np.random.default_rng(count)
    shares = []
    for _ in range(60):
        usual = rng.uniform(1, 8, (7, 6))
        errors = {str(o): rng.laplace(0, usual[o], (count, 6)) for o in range(7)}
        found = margins(errors)
        new = {str(o): rng.laplace(0, usual[o], (50, 6)) for o in range(7)}
        shares.append(np.mean([(np.abs(new[o]) <= found[o]).mean() for o in errors]))
    assert low < np.mean(shares) < high


def test_a_face_that_is_hard_to_find_gets_a_wider_margin() -> None:
    rng = np.random.default_rng(0)
    errors = {"cord": rng.normal(0, [2, 2, 2, 2, 20, 2], (5, 6)), "other": rng.normal(0, 2, (5, 6))}
    found = margins(errors, default_mm=4.0)
    assert found["cord"][4] > 2 * found["cord"][[0, 1, 2, 3, 5]].max()
    assert found["other"].max() < found["cord"][4]


def test_what_few_supports_promise_is_drawn_towards_the_default() -> None:
    rng = np.random.default_rng(0)
    drawn = {}
    for count in (2, 20):
        errors = {"a": rng.normal(0, 2, (count, 6))}
        far, near = (margins(errors, default_mm=d)["a"].mean() for d in (40.0, 4.0))
        drawn[count] = far - near
    assert drawn[2] == pytest.approx(12.0)
    assert drawn[20] == pytest.approx(36 / 21)


def test_margins_grow_with_the_share_to_cover_and_need_no_trial_of_a_structure() -> None:
    rng = np.random.default_rng(1)
    errors = {"a": rng.normal(0, 4, (5, 6)), "b": rng.normal(0, 4, (5, 6)), "alone": np.zeros((0, 6))}
    narrow, wide = margins(errors, 0.5), margins(errors, 0.95)
    assert all((narrow[structure] < wide[structure]).all() for structure in errors)
    assert np.ptp(wide["alone"]) == pytest.approx(0)
    assert wide["alone"][0] > 0


def test_marks_that_agree_exactly_still_get_a_margin() -> None:
    assert margins({"a": np.zeros((3, 6))})["a"].min() >= 0


def test_calibration_is_kept_in_the_file(known: TemplateSet, tmp_path: Path) -> None:
    issue = TemplateIssue(("a",), ("left",), "shifted", 1.5, shift_mm=(1.0, 2.0, 30.0))
    kept = replace(known, issues=(issue,))
    kept.save(tmp_path / "t.medlsam")
    again = TemplateSet.load(tmp_path / "t.medlsam")
    assert again.calibration == kept.calibration
    assert again.outlier_scores == kept.outlier_scores
    assert again.issues == (issue,)
    assert again.select(["right"]).issues == ()
    assert again.without("b").outlier_scores == {}


@pytest.mark.realdata
def test_swapped_parotids_of_a_real_scan_are_named(real_ct: Path) -> None:
    found, names = choose_templates(real_ct / "openkbp" / "templates")
    scans = list(read_templates(found[:3], names))
    right, left = (value for value, name in sorted(names.items()) if name.endswith("Parotid"))
    labels = scans[1].labels
    assert labels is not None
    swapped = labels.array.copy()
    swapped[labels.array == right], swapped[labels.array == left] = left, right
    scans[1] = replace(scans[1], labels=LabelMap(swapped, labels.grid))
    localizer = load_localizer(device="cpu")
    templates = build_templates(localizer, scans, names, organs=["RightParotid", "LeftParotid", "Brainstem"])
    assert [(f.templates, f.kind) for f in templates.issues] == [((scans[1].name,), "left_right")]
    assert templates.calibration["Brainstem"].n == 3
