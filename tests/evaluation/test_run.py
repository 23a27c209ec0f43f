"""Evaluation with a stub model whose answers are known: every figure below can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.evaluation.references import find_references
from medlsam.evaluation.scores import FIGURES, ROWS, STAGES
from medlsam.geometry import Grid
from medlsam.io.cases import Case
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.volume import LabelMap
from tests.support.fakes.evaluated import SPACING, Dataset, StubModel, run


@pytest.mark.parametrize("flipped", [False, True])
def test_a_shift_of_one_voxel_gives_the_figures_worked_out_by_hand(
    dataset: Dataset, tmp_path: Path, flipped: bool
) -> None:
    metrics = run(StubModel(shift_mm=2.0), dataset(["a", "b"], flipped), tmp_path)
    assert metrics["cases"] == 2
    assert list(metrics["organs"]) == ["cube", "bar"], "the one at the last slice is left out"
    cube = metrics["organs"]["cube"]
    assert cube["n"] == 2
    assert cube["iou"] == {"mean": pytest.approx(9 / 11, abs=1e-4), "std": 0.0, "n": 2}
    assert cube["wall_distance_mm"]["mean"] == pytest.approx(4 / 6, abs=1e-4)
    assert (cube["missed"], cube["false_found"]) == (0, 0)
    # Ten voxels wide, moved by one: 9 of 10 columns are common; every surface voxel is within 2 mm.
    expected = {"located": 0.9, "oracle_box": 1.0, "oracle_slices": 1.0, "shape_prior": 0.9}
    assert cube["dice"] == pytest.approx(expected)
    assert cube["hd95_mm"]["located"] == pytest.approx(2.0)
    assert cube["hd95_mm"]["oracle_slices"] == 0.0
    assert cube["nsd"]["located"] == 1.0
    assert metrics["organs"]["bar"]["dice"]["located"] == pytest.approx(0.75)
    mean = metrics["mean"]
    assert mean["iou"] == pytest.approx((9 / 11 + 3 / 5) / 2, abs=1e-4)
    assert mean["dice"]["located"] == pytest.approx((0.9 + 0.75) / 2)
    assert mean["spread"]["dice"]["located"]["n"] == 2


def test_metrics_hold_every_key_of_the_contract(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(), dataset(["a"]), tmp_path)
    for figures in (metrics["organs"]["cube"], metrics["mean"]):
        assert all(set(figures[figure]) == set(ROWS) for figure in FIGURES)
    assert {"iou", "wall_distance_mm"} <= set(metrics["mean"])
    assert set(STAGES) <= set(metrics["seconds_per_case"])
    assert all(isinstance(value, float) for value in metrics["seconds_per_case"].values())
    assert "random-start" not in metrics
    assert metrics["failed"] == {}
    assert (tmp_path / "out" / "a" / "segmentation.nii.gz").is_file()
    assert json.loads((tmp_path / "out" / "a" / "localization.json").read_text())["case"] == "a"


def test_labels_are_opened_only_after_the_case_is_segmented(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cases = StubModel(), dataset(["a", "b"])

    def spy(path: Path) -> LabelMap:
        written = (tmp_path / "out" / path.name.removesuffix(".nii.gz") / "segmentation.nii.gz").is_file()
        model.events.append(f"labels {path.name} {'after' if written else 'BEFORE'}")
        return read_label_map(path)

    monkeypatch.setattr("medlsam.evaluation.references.read_label_map", spy)
    run(model, cases, tmp_path)
    assert model.events == [
        *("embed a", "segment a", "labels a.nii.gz after"),
        *("embed b", "segment b", "labels b.nii.gz after"),
    ]


def test_a_failing_case_is_reported_and_counts_zero(dataset: Dataset, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    cases = dataset(["a", "broken", "c"])
    metrics = run(
        StubModel(), cases, tmp_path, on_progress=lambda *told: seen.append(told), compare_search=True
    )
    assert seen == [(1, 3, "a"), (2, 3, "broken"), (3, 3, "c")]
    assert list(metrics["failed"]) == ["broken"]
    assert "cannot be segmented" in metrics["failed"]["broken"]
    cube = metrics["organs"]["cube"]
    assert (cube["n"], cube["missed"]) == (3, 1)
    assert cube["dice"] == pytest.approx(dict.fromkeys(ROWS, 2 / 3), abs=1e-4)
    assert metrics["random-start"]["organs"]["cube"]["n"] == 3
    assert metrics["seconds_spread"]["embed"]["n"] == 2


def test_labels_on_another_grid_fail_the_case(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a"])
    other = LabelMap(np.ones((16, 24, 27), np.uint8), Grid((16, 24, 27), SPACING))
    write_volume(other, tmp_path / "labelsTr" / "a.nii.gz")
    assert "GeometryError" in run(StubModel(), cases, tmp_path)["failed"]["a"]


def test_calls_that_can_score_nothing_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a"])
    with pytest.raises(UsageError, match=r"none of 1 scans.*stranger\.nii\.gz"):
        run(StubModel(), [replace(cases[0], name="stranger")], tmp_path)
    with pytest.raises(UsageError, match=r"templates have cube, bar, cut, the labels liver"):
        run(StubModel(), cases, tmp_path, names={1: "liver"})
    with pytest.raises(UsageError, match="not a folder of label maps"):
        find_references(tmp_path / "nowhere")
    metrics = run(StubModel(), [*cases, Case("stranger", cases[0].path)], tmp_path)
    assert (metrics["cases"], metrics["unlabelled"]) == (1, ["stranger"])
