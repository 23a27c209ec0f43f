"""Scores, what is kept between runs, and the figures of two ways beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.comparison import Kept, Scored, across, by_scan, paired, score, tables
from medlsam.evaluation.references import CaseReference
from medlsam.geometry import Grid
from medlsam.volume import LabelMap

FIRST = {"a": Scored({"x": 0.8, "y": 0.6}, 3.0), "b": Scored({"x": 0.6}, 5.0), "c": Scored({}, 1.0)}
SECOND = {"a": Scored({"x": 0.6, "y": 0.6}, 40.0), "b": Scored({"x": 0.7}, 60.0), "c": Scored({}, 50.0)}


def test_only_complete_structures_count_by_name() -> None:
    truth = np.array([[[1, 1, 2, 3]]], np.uint8)
    place = (slice(0, 1),) * 3
    whole = CaseReference(LabelMap(truth, Grid((1, 1, 4))), {"x": 1, "y": 2}, {"x": place, "y": place})
    found = score(np.array([[[5, 0, 9, 3]]]), whole, {5: "x", 6: "y", 3: "z"})
    assert found == {"x": pytest.approx(2 / 3), "y": 0.0}, "z is cut off"


def test_kept_arrays_come_back_and_other_settings_do_not_see_them(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "way", {"iterations": 3})
    assert kept.read("a") is None
    kept.write("a", labels=np.array([[[1, 2]]], np.uint8), seconds=2.5)
    found = Kept(tmp_path, "way", {"iterations": 3}).read("a")
    assert found is not None
    assert found["labels"].tolist() == [[[1, 2]]]
    assert float(found["seconds"]) == 2.5
    assert Kept(tmp_path, "way", {"iterations": 4}).read("a") is None


def test_a_mean_weighs_structures_alike_and_a_difference_patients() -> None:
    assert across(FIRST) == pytest.approx((0.7 + 0.6) / 2)
    assert by_scan(FIRST) == {"a": pytest.approx(0.7), "b": pytest.approx(0.6)}
    found = paired(FIRST, SECOND)
    assert found == {
        "mean": pytest.approx(0.0), "standard_error": pytest.approx(0.1), "better": 1, "n": 2,
    }  # fmt: skip


def test_tables_have_every_way_beside_ours() -> None:
    made, ahead = tables(
        {"ours": FIRST, "other": SECOND}, {"ours": "6 s", "other": "nothing"}, ["y", "x", "z"]
    )
    cells = [list(column.cells) for column in made.columns]
    assert cells[0][:2] == ["y", "x"], "z is in no scan"
    assert cells[1][:2] == ["1", "2"]
    assert cells[2] == ["0.60 ±0.00", "0.70 ±0.14", "0.650", "0.650 ±0.071", "3.0 ±2.0", "6 s"]
    assert cells[3][-2:] == ["50.0 ±10.0", "nothing"]
    assert [list(column.cells) for column in ahead.columns] == [["other"], ["+0.000 ±0.100"], ["1 of 2"]]
