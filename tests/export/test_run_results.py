"""The list of a run: the most doubtful first, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medlsam.errors import UsageError
from medlsam.export.run_results import read_results, volume_scores
from tests.support.served import Client


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


def test_the_page_gets_geometry_pictures_and_outlines(page: Client) -> None:
    run = page.ask("/api/run").json()
    index = next(k for k, case in enumerate(run["cases"]) if case["name"] == "a")
    opened = page.ask(f"/api/case/{index}").json()
    assert opened["geometry"]["shape"] == [28, 24, 16]
    center = opened["centers"]["plate"]
    z = round((center[2] - opened["geometry"]["origin"][2]) / opened["geometry"]["spacing"][2])
    picture = page.ask(f"/api/case/{index}/slice/axial/{z}?low=-160&high=240")
    assert picture.headers["content-type"] == "image/png"
    assert "max-age" in picture.headers["cache-control"]
    lines = page.ask(f"/api/case/{index}/outlines/axial/{z}").json()["lines"]
    assert str(run["values"]["plate"]) in lines
    failed = page.ask("/api/case/0")
    assert failed.status == 400
    assert "no voxel spacing" in json.loads(failed.body)["error"]
