"""Shares of the scans for arrays of jobs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlsam.batch import segment_folder
from medlsam.batch.output import OutputFolder
from medlsam.cli import app
from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.io.cases import Case, find_cases, take_shard
from medlsam.io.write import write_volume
from tests.support.fakes.stub_model import draw_ct, stub_model, template_set

CASES = [Case(name, Path(name)) for name in "abcdefg"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_scan_is_in_one_shard(count: int) -> None:
    shards = [take_shard(CASES, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(case.name for shard in shards for case in shard) == list("abcdefg")
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert take_shard(CASES, None) == CASES


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", ""])
def test_wrong_shards(shard: str) -> None:
    with pytest.raises(UsageError, match="i/n"):
        take_shard(CASES, shard)


def test_an_empty_shard() -> None:
    with pytest.raises(UsageError, match="7 scans only"):
        take_shard(CASES, "8/8")


def test_shards_share_a_folder_and_one_more_run_collects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = stub_model(monkeypatch), tmp_path / "out"
    for name in "abc":
        write_volume(draw_ct(Grid((16, 24, 28), (1.5, 2.0, 2.5))), tmp_path / "scans" / f"{name}.nii.gz")
    cases = find_cases(tmp_path / "scans")
    # What another shard is writing just now stays.
    busy = output / ".b.partial"
    busy.mkdir(parents=True)
    for shard in ("1/2", "2/2"):
        segment_folder(model, template_set(), take_shard(cases, shard), output, report=False)
        if shard == "1/2":
            assert busy.exists()
    collected = segment_folder(model, template_set(), cases, output, report=False)
    assert collected.skipped == ("a", "b", "c")
    assert set(json.loads((output / "run.json").read_text())["cases"]) == set("abc")


def test_a_report_is_outdated_by_a_newer_result(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, "segment")
    assert folder.outdated("report.html")
    (tmp_path / "report.html").touch()
    assert not folder.outdated("report.html")
    (tmp_path / "a").mkdir()
    marker = tmp_path / "a" / ".done.json"
    marker.touch()
    os.utime(marker, (2e9, 2e9))
    assert folder.outdated("report.html")


def test_the_commands_take_a_shard_and_refuse_what_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medlsam.pipeline.model.load", lambda *arguments, **named: stub_model(monkeypatch))
    template_set().save(tmp_path / "support.medlsam")
    for name in "abc":
        write_volume(draw_ct(Grid((16, 24, 28), (1.5, 2.0, 2.5))), tmp_path / "scans" / f"{name}.nii.gz")

    def call(command: str, *more: str) -> Any:
        usual = ["--support", tmp_path / "support.medlsam", "--images", tmp_path / "scans"]
        usual += ["--output", tmp_path / command, "--json"]
        return CliRunner().invoke(app, [command, *map(str, usual), *more])

    for command in ("segment", "localize"):
        assert json.loads(call(command, "--shard", "2/2").stdout)["done"] == ["b"]
        assert not (tmp_path / command / "report.html").exists()
        for wrong in (("--shard", "3/2"), ("--jobs", "0"), ("--jobs", "2", "--scheduler", "tcp://host:1")):
            result = call(command, *wrong)
            assert result.exit_code == 2, wrong
            assert json.loads(result.stdout)["error"]["type"] == "UsageError"
