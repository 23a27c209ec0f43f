"""Margins, confidence and status against the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fakes.evaluated import Dataset, StubModel, run


def test_margins_are_held_against_the_true_faces(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a", "b"])
    wide = run(StubModel(shift_mm=4.0, promise_mm=4.0), cases, tmp_path)["organs"]["cube"]["coverage"]
    assert (wide["within"], wide["reached"], wide["n"]) == (1.0, 1.0, 12)
    assert wide["margin_mm"] == {"mean": 4.0, "std": 0.0, "n": 12}
    metrics = run(StubModel(shift_mm=4.0, promise_mm=3.0, missing=[("b", "cube")]), cases, tmp_path)
    narrow = metrics["organs"]["cube"]["coverage"]
    # Both faces across x are 4 mm off; one of them outwards, which a reader of the wider box does not mind.
    assert narrow["within"] == pytest.approx(4 / 6, abs=1e-4)
    assert narrow["reached"] == pytest.approx(5 / 6, abs=1e-4)
    assert narrow["n"] == 6, "a structure that is not found promises nothing"
    assert metrics["mean"]["coverage"]["n"] == 18
    errors = metrics["organs"]["bar"]["face_error_mm"]
    assert errors["x-"]["signed"]["mean"] == -4.0, "the low face moved into the structure"
    assert errors["x+"]["signed"]["mean"] == 4.0
    assert errors["x-"]["absolute"] == {"mean": 4.0, "std": 0.0, "n": 2}
    assert errors["z+"]["absolute"]["mean"] == 0.0


def test_status_shares_and_the_worth_of_confidence(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, missing=[("a", "cube"), ("b", "bar")])
    metrics = run(model, dataset(["a", "b", "broken"]), tmp_path)
    cube, mean = metrics["organs"]["cube"], metrics["mean"]
    assert cube["status_shares"] == {
        **dict.fromkeys(("found", "missing", "failed"), pytest.approx(1 / 3, abs=1e-4)),
        **dict.fromkeys(("uncertain", "out_of_view"), 0.0),
    }
    assert cube["false_missing"] == pytest.approx(1 / 3, abs=1e-4), (
        "a failed case is no claim that it is missing"
    )
    assert mean["scored"] == 6
    assert mean["false_missing"] == pytest.approx(2 / 6, abs=1e-4)
    # IoU 0, 9/11, 3/5, 0 with confidence 0.3, 0.8, 0.8, 0.3: the same order but for ties.
    assert mean["confidence_rank_correlation"]["rho"] == pytest.approx(0.9428, abs=1e-3)
    assert mean["confidence_rank_correlation"]["n"] == 4
    assert cube["confidence_rank_correlation"] == {"rho": None, "n": 2}
