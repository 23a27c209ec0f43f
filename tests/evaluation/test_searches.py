"""The paper's search beside the evaluated one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fakes.evaluated import Dataset, StubModel, run


def test_the_papers_mode_stands_beside_and_its_box_always_counts(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, missing=[("a", "cube")])
    metrics = run(model, dataset(["a"]), tmp_path, compare_search=True)
    paper = metrics["random-start"]
    assert metrics["organs"]["cube"]["iou"]["mean"] == 0.0
    assert paper["organs"]["cube"]["iou"]["mean"] == pytest.approx(8 / 12, abs=1e-4)
    assert paper["organs"]["cube"]["wall_distance_mm"]["mean"] == pytest.approx(8 / 6, abs=1e-4)
    assert paper["mean"]["iou"] == pytest.approx((8 / 12 + 2 / 6) / 2, abs=1e-4)
    # Before refinement everything lies 2 mm farther, and nothing is called missing.
    assert metrics["coarse_only"]["organs"]["cube"]["iou"]["mean"] == pytest.approx(8 / 12, abs=1e-4)
    assert paper["coarse_only"]["organs"]["cube"]["iou"]["mean"] == pytest.approx(7 / 13, abs=1e-4)
    assert model.events.count("embed a") == 1
    assert metrics["seconds_spread"]["random_start_locate"]["n"] == 1
