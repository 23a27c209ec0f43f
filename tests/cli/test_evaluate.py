"""``medlsam evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import call, document, usual


def test_evaluate(asked: Any, template: Path, scans: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"val": ["b"]}))
    result = call(
        "evaluate", *usual(template, scans, tmp_path / "out"), "--labels", labels,
        "--cases", f"{tmp_path / 'split.json'}:val", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    metrics = document(result)
    assert metrics["cases"] == 1
    assert metrics["organs"]["block"]["dice"]["located"] == pytest.approx(1)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics


def test_evaluate_prints_a_table(
    asked: Any, template: Path, scans: Path, labels: Path, tmp_path: Path
) -> None:
    result = call("evaluate", *usual(template, scans, tmp_path / "out"), "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "block" in result.stdout


def test_evaluate_names_a_case_that_is_not_there(
    asked: Any, template: Path, scans: Path, labels: Path, tmp_path: Path
) -> None:
    (tmp_path / "split.json").write_text(json.dumps(["bb"]))
    result = call(
        "evaluate", *usual(template, scans, tmp_path / "out"), "--labels", labels,
        "--cases", tmp_path / "split.json",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "there is no scan 'bb' (did you mean" in result.stderr
    assert not (tmp_path / "out").exists()
