"""Scores and their means: structures that are missed, rows that templates cannot offer, the CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from medlsam.evaluation.scores import score_box, score_located
from medlsam.geometry import Box
from medlsam.results import LocatedStructure
from tests.support.fakes.evaluated import Dataset, StubModel, run


def test_the_reported_box_is_scored_and_margins_are_those_of_the_located_one(
    dataset: Dataset, tmp_path: Path
) -> None:
    truth, located = Box((0, 0, 0), (10, 10, 10)), Box((-2, 0, 0), (12, 10, 10))
    own = LocatedStructure("cube", "found", 0.9, box=located, prompt_box=located.expand(3))
    reported = replace(own, box=truth)
    score, before = score_box("a", "cube", reported, truth), score_located("a", "cube", reported, truth)
    assert (score.iou, score.wall_distance_mm) == (1.0, 0.0)
    assert before.iou == pytest.approx(10 / 14)
    assert score.errors_mm == before.errors_mm == (2.0, 2.0, 0.0, 0.0, 0.0, 0.0)
    assert score.margins_mm == (3.0,) * 6
    metrics = run(StubModel(missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    assert metrics["as_located"]["organs"]["cube"]["iou"] == metrics["organs"]["cube"]["iou"]


def test_a_missed_structure_counts_zero_and_has_no_distance(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    cube = metrics["organs"]["cube"]
    assert (cube["n"], cube["missed"]) == (2, 1)
    assert cube["iou"]["mean"] == pytest.approx(0.5)
    assert cube["iou"]["std"] == pytest.approx(math.sqrt(0.5), abs=1e-4)
    assert cube["dice"] == pytest.approx(
        {"located": 0.5, "oracle_box": 1.0, "oracle_slices": 1.0, "shape_prior": 0.5}
    )
    assert cube["nsd"]["located"] == pytest.approx(0.5)
    assert cube["wall_distance_mm"]["n"] == 1
    assert cube["spread"]["hd95_mm"]["located"] == {"mean": 0.0, "std": 0.0, "n": 1}


def test_a_structure_missed_everywhere_has_null_distances(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(missing=[("a", "cube")]), dataset(["a"]), tmp_path)
    cube = metrics["organs"]["cube"]
    assert cube["wall_distance_mm"]["mean"] is None
    assert cube["hd95_mm"]["located"] is None
    assert cube["dice"]["located"] == 0.0
    assert metrics["mean"]["dice"]["located"] == pytest.approx(0.5)


def test_templates_without_masks_have_no_shape_row(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(prior=False, missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    assert metrics["organs"]["cube"]["dice"]["shape_prior"] is None
    assert metrics["mean"]["dice"]["shape_prior"] is None
    assert metrics["mean"]["dice"]["located"] == pytest.approx(0.75)


def test_cases_csv_has_a_row_per_case_and_structure(dataset: Dataset, tmp_path: Path) -> None:
    run(StubModel(missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["organ"]) for row in rows] == [(c, o) for c in "ab" for o in ("cube", "bar")]
    assert (rows[2]["status"], rows[2]["missed"], rows[2]["wall_distance_mm"]) == ("missing", "1", "")
    assert float(rows[0]["dice_located"]) == 1.0
