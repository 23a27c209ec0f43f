"""``medlsam lesion segment``: what it writes, says and answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medlsam.cli import app

pytestmark = pytest.mark.slow


def call(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    result = CliRunner().invoke(app, ["lesion", "segment", *map(str, arguments), "--device", "cpu"])
    return result.exit_code, result.stdout, result.stderr


def test_scans_are_segmented_and_scored(two_scans: Path, overfitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, said, _ = call(two_scans, "--weights", overfitted, "--output", out, "--json")
    assert code == 0
    answer = json.loads(said)
    assert [(one["case"], one["status"]) for one in answer["cases"]] == [("case0", "done"), ("case1", "done")]
    assert answer["cases"][0]["volume_ml"]["liver cyst"] > 5
    assert json.loads((out / "labels.json").read_text()) == {"1": "liver cyst", "2": "kidney stone"}
    code, said, told = call(two_scans, "--weights", overfitted, "--output", out)
    assert code == 0
    assert "2 label maps were there already" in told
    # What reads label maps reads these.
    scored = CliRunner().invoke(
        app,
        ["lesion", "evaluate", "--predictions", str(out), "--labels", str(two_scans / "labelsTr"), "--json"],
    )
    assert scored.exit_code == 0
    assert json.loads(scored.stdout)["classes"]["kidney stone"]["dice"]["mean"] > 0.9


def test_a_broken_scan_is_exit_code_1_and_wrong_weights_2(
    two_scans: Path, overfitted: Path, tmp_path: Path
) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.nii.gz").write_bytes(b"nothing")
    code, _, told = call(tmp_path / "scans", "--weights", overfitted, "--output", tmp_path / "out")
    assert code == 1
    assert "failed: a:" in told
    code, _, told = call(two_scans, "--weights", two_scans / "dataset.json", "--output", tmp_path / "other")
    assert code == 2
    assert "dataset.json" in told
    assert not (tmp_path / "other").exists()
