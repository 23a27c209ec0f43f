"""Pools built over a Dask cluster: the same bytes, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import dask
import pytest
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.errors import UsageError, WorkerError
from medlsam.pool import BuildResult, Reason, build_pool
from medlsam.pool.find import find_scans
from medlsam.pool.ingest import IngestJob, ingest
from tests.support.data.pool_data import (
    GRID,
    KillingJob,
    bytes_of,
    left_out,
    write_raw,
)


@pytest.fixture
def raw(make_ct: Any, tmp_path: Path) -> Path:
    return write_raw(make_ct(GRID), tmp_path / "raw")


def content(result: BuildResult) -> dict[str, bytes]:
    """Every file of a pool but the records, which hold times of change."""
    files = (f for f in result.folder.rglob("*") if f.is_file() and f.parent.name != "sources")
    return {str(f.relative_to(result.folder)): f.read_bytes() for f in sorted(files)}


def test_a_cluster_builds_the_same_pool(raw: Path, tmp_path: Path, address: str) -> None:
    serial = build_pool([raw], tmp_path / "serial", spacing_mm=6.0, jobs=0)
    seen: list[str] = []
    spread = build_pool(
        [raw],
        tmp_path / "pool",
        spacing_mm=6.0,
        scheduler=address,
        on_progress=lambda at: seen.append(at.source),
    )
    assert len(seen) == len(set(seen)) == 11
    assert spread.sha256 == serial.sha256
    assert content(spread) == content(serial)
    assert spread.to_dict() | {"pool": ""} == serial.to_dict() | {"pool": ""}
    before = bytes_of(spread.folder)
    # Nothing waits, so that no scheduler is asked.
    again = build_pool([raw], spread.folder, scheduler="tcp://127.0.0.1:9")
    assert (again.sha256, again.added) == (serial.sha256, [])
    assert bytes_of(again.folder) == before


def test_a_local_cluster_from_another_folder(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spread = build_pool(["raw/files"], "pool", spacing_mm=6.0, jobs=2)
    serial = build_pool([raw / "files"], tmp_path / "serial", spacing_mm=6.0, jobs=0)
    assert content(spread) == content(serial)


def test_a_killed_worker_loses_nothing(raw: Path, tmp_path: Path, address: str, cluster: Any) -> None:
    serial = build_pool([raw], tmp_path / "serial", spacing_mm=6.0, jobs=0)
    killed: list[int] = []

    def kill(_: object) -> None:
        if not killed:
            killed.append(next(iter(cluster.workers.values())).process.pid)
            os.kill(killed[0], signal.SIGKILL)

    spread = build_pool([raw], tmp_path / "pool", spacing_mm=6.0, scheduler=address, on_progress=kill)
    assert killed
    assert spread.failed == serial.failed
    assert content(spread) == content(serial)


def test_a_scan_that_kills_is_reported_and_the_others_finish(
    raw: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The killer is left out of the pool as if it had not been there.
    with monkeypatch.context() as patch:
        patch.setattr("medlsam.pool.build.IngestJob", KillingJob)
        killed = build_pool([raw], tmp_path / "pool", spacing_mm=6.0, scheduler=address)
    assert left_out(killed)["raw/files/case2.nii.gz"] is Reason.KILLED
    assert sorted(killed.failed) == ["raw/bad/cut.nii.gz", "raw/files/case2.nii.gz"]
    assert sorted(row.case for row in killed.rows) == ["case0", "case1", "thin", "tilted"]
    # It is tried again by the next call.
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)
    assert build_pool([raw], killed.folder, scheduler=address).sha256 == whole.sha256


def test_after_ctrl_c_the_same_call_goes_on(raw: Path, tmp_path: Path, address: str) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_pool([raw], tmp_path / "pool", spacing_mm=6.0, scheduler=address, on_progress=stop)
    assert not list((tmp_path / "pool").glob(".run-*"))
    left = tmp_path / "pool" / ".run-left"
    left.mkdir()  # of one that was killed: nobody else can be at work there
    resumed = build_pool([raw], tmp_path / "pool", scheduler=address)
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)
    assert not left.exists()
    assert content(resumed) == content(whole)


@pytest.mark.parametrize(
    ("jobs", "scheduler", "message"),
    [
        (2, "tcp://host:1", "has its own workers"),
        (0, "local", "1 or more"),
        (-1, None, "0 or more"),
        (1, "somewhere", "give the address of a Dask scheduler"),
    ],
)
def test_wrong_calls(tmp_path: Path, jobs: int, scheduler: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_pool([tmp_path], tmp_path / "pool", jobs=jobs, scheduler=scheduler)


def test_nothing_is_written_without_a_scheduler(raw: Path, tmp_path: Path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(UsageError, match="no Dask scheduler answers there"),
    ):
        build_pool([raw], tmp_path / "pool", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "pool").exists()


def test_the_command(raw: Path, tmp_path: Path, address: str) -> None:
    def call(*arguments: object) -> Any:
        given = ("pool", "build", raw / "files", "--spacing", 6, *arguments, "--json")
        return CliRunner().invoke(app, list(map(str, given)))

    spread = call("--output", tmp_path / "pool", "--scheduler", address)
    assert spread.exit_code == 0, spread.stderr
    serial = json.loads(call("--output", tmp_path / "serial", "--jobs", 0).stdout)
    assert json.loads(spread.stdout) | {"pool": ""} == serial | {"pool": ""}
    refused = call("--output", tmp_path / "new", "--scheduler", address, "--jobs", 2)
    assert refused.exit_code == 2
    assert "leave jobs out" in json.loads(refused.stdout)["error"]["text"]
    assert not (tmp_path / "new").exists()


def test_a_pool_that_cannot_be_written_to_is_no_fault_of_a_scan(raw: Path, tmp_path: Path) -> None:
    (candidate, *_) = find_scans([raw / "files"]).candidates
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "scans").touch()
    with pytest.raises(WorkerError, match="cannot be written .*; what is done stays"):
        ingest(IngestJob(tmp_path / "pool", 6.0), candidate)
    assert not (tmp_path / "pool" / "sources").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sources").touch()  # where the records go
    with pytest.raises(WorkerError, match="cannot be written .*; what is done stays"):
        ingest(IngestJob(tmp_path / "other", 6.0), candidate)
