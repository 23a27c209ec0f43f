"""The list of a run: the most doubtful first, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.export.run_results import read_results, volume_scores
from tests.support.small_run import small_run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("run"))


def test_failed_scans_come_first_and_say_why(results: Path) -> None:
    found = read_results(results)
    assert found.cases[0].name.startswith("c")
    assert "no voxel spacing" in found.cases[0].error
    assert found.values.keys() >= {"plate"}
    assert {case.name for case in found.cases[1:]} == {"a", "b & <b>"}
    for case in found.cases[1:]:
        doubts = [entry.doubt for entry in case.entries]
        assert doubts == sorted(doubts)


def test_a_damaged_file_costs_its_scan_only(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "out")
    (tmp_path / "out" / "a" / "localization.json").write_text("{")
    cases = {case.name: case for case in read_results(tmp_path / "out").cases}
    assert "localization.json cannot be read" in cases["a"].error
    assert not cases["b & <b>"].error
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="run.json: cannot be read"):
        read_results(tmp_path / "out")
    with pytest.raises(UsageError, match="holds no run.json"):
        read_results(tmp_path)


def test_volumes_unlike_the_others_are_named() -> None:
    def rows(volumes: dict[str, float], cut: tuple[str, ...] = ()) -> dict[str, dict[str, dict[str, str]]]:
        return {
            name: {"liver": {"volume_ml": str(volume), "cut_off": "yes" if name in cut else "no"}}
            for name, volume in volumes.items()
        }

    usual = {"a": 1400.0, "b": 1500.0, "c": 1600.0, "d": 1450.0, "e": 1550.0}
    scores = volume_scores(rows(usual | {"small": 300.0, "large": 7000.0}))
    assert scores["small", "liver"] < -3.5
    assert scores["large", "liver"] > 3.5
    assert all(abs(scores[name, "liver"]) < 3.5 for name in usual)
    cut = volume_scores(rows(usual | {"small": 300.0}, cut=("small",)))
    assert ("small", "liver") not in cut, "the scan cuts it off"
    assert volume_scores(rows(dict(list(usual.items())[:4]))) == {}, "too few to say what is usual"


def test_what_is_unlike_other_scans_is_listed_before_low_confidence(tmp_path: Path) -> None:
    """Six livers: one with a small volume, one whose templates disagree, one with low confidence, three usual ones."""
    volumes = {
        "usual 1": 1500,
        "usual 2": 1510,
        "usual 3": 1490,
        "small": 300,
        "disagreed": 1505,
        "unsure": 1495,
    }
    lines = ["case,organ,volume_ml,cut_off", *(f"{name},liver,{ml},no" for name, ml in volumes.items())]
    (tmp_path / "statistics.csv").write_text("\n".join(lines))
    box = {"min": [0, 0, 0], "max": [9, 9, 9]}
    for name in volumes:
        answer = {
            "status": "uncertain" if name == "unsure" else "found",
            "confidence": 0.3 if name == "unsure" else 0.9,
            # The other expected errors differ by a tenth, which is nothing.
            "expected_error_mm": 9.0 if name == "disagreed" else 3.3 if name == "usual 2" else 3.0,
            "box": box,
        }
        (tmp_path / name).mkdir()
        content = {"case": name, "organs": {"liver": answer}}
        (tmp_path / name / "localization.json").write_text(json.dumps(content))
    (tmp_path / "run.json").write_text(
        json.dumps({"cases": {name: {"status": "done"} for name in volumes}, "version": "9"})
    )
    found = read_results(tmp_path)
    assert [case.name for case in found.cases] == [
        "disagreed",
        "small",
        "unsure",
        "usual 2",
        "usual 1",
        "usual 3",
    ]
    assert [case.entries[0].reasons for case in found.cases[:4]] == [
        ["templates disagree more than usual"],
        ["volume smaller than usual"],
        ["uncertain"],
        [],
    ]
    assert found.description == {"version": "9"}
