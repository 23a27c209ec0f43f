"""Pools built over a Dask cluster: the same bytes, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.errors import UsageError, WorkerError
from medlsam.parallel.attempts import Begun, Room
from medlsam.parallel.dask import Cluster, connected
from medlsam.pool import BuildResult, Reason, build_pool
from medlsam.pool.cluster import ClusterProcesses, Shared, check, on_cluster, work_on
from medlsam.pool.find import find_scans
from medlsam.pool.ingest import Job, _notes, do_job
from tests.support.dask_workers import two_workers
from tests.support.pool_data import (
    GRID,
    bytes_of,
    die_at_two,
    die_once,
    die_over_case2,
    left_out,
    manners,
    square,
    write_raw,
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_workers() as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Any) -> str:
    return str(cluster.scheduler_address)


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
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    spread = build_pool(["raw/files"], "pool", spacing_mm=6.0, jobs=2, scheduler="local")
    serial = build_pool([raw / "files"], tmp_path / "serial", spacing_mm=6.0, jobs=0)
    assert content(spread) == content(serial)


def test_local_workers_keep_memory_and_leave_ctrl_c_to_who_started_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    # The other tests' cluster lives in this process and set it here too; what somebody has set stays.
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with on_cluster(tmp_path, [], "local", 1) as run:
        assert list(run(manners, [0])) == [(0, (None, True))]


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


def test_what_killed_its_worker_once_is_tried_again(tmp_path: Path, address: str) -> None:
    with on_cluster(tmp_path / "pool", [], address, 1) as run:
        # More than lie with the scheduler at once.
        done = dict(run(partial(die_once, tmp_path / "flag"), range(20)))
    assert done == {n: n * n for n in range(20)}
    assert (tmp_path / "flag").exists()
    assert not (tmp_path / "pool").exists()


def test_only_the_item_that_kills_twice_is_lost(tmp_path: Path, address: str) -> None:
    with on_cluster(tmp_path / "pool", [], address, 1) as run:
        assert dict(run(die_at_two, range(5))) == {0: 0, 1: 1, 2: None, 3: 9, 4: 16}


class Killing:
    """A cluster whose workers die over one scan."""

    def __init__(self, inner: ClusterProcesses) -> None:
        self.inner = inner

    def __call__(self, _: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        return self.inner(die_over_case2, items)


def test_a_scan_that_kills_is_reported_and_the_others_finish(raw: Path, tmp_path: Path, address: str) -> None:
    # The killer is left out of the pool as if it had not been there.
    with on_cluster(tmp_path, [], address, 1) as inner:
        killed = build_pool([raw], tmp_path / "pool", spacing_mm=6.0, runner=Killing(inner))
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
    left, others = tmp_path / "pool" / ".run-left", tmp_path / "pool" / ".run-others"
    left.mkdir()  # of one that was killed
    others.mkdir()  # of one that may be at work
    os.utime(left, (0, 0))
    resumed = build_pool([raw], tmp_path / "pool", scheduler=address)
    whole = build_pool([raw], tmp_path / "whole", spacing_mm=6.0, jobs=0)
    assert others.exists()
    assert not left.exists()
    others.rmdir()
    assert content(resumed) == content(whole)


def test_a_worker_that_sees_other_paths_says_so(tmp_path: Path, address: str) -> None:
    place = tmp_path / ".run-1"
    with pytest.raises(
        WorkerError, match=r"does not see .*\.run-1 .*; all workers must see the pool and the raw"
    ):
        check(Shared(place, ()))
    place.mkdir()
    check(Shared(place, ()))
    with pytest.raises(WorkerError, match="install the same version"):
        check(Shared(place, (), "0.0.1"))
    elsewhere = Shared(place, (tmp_path / "elsewhere.nii.gz",))
    for _ in range(2):
        with pytest.raises(WorkerError, match=r"does not see .*elsewhere\.nii\.gz; all workers must see"):
            work_on(elsewhere, square, (0, 3))
    assert Begun(place).times("0") == 0
    with connected(address, 1) as cluster:
        with pytest.raises(WorkerError, match=r"worker tcp://.* does not see .*elsewhere"):
            cluster.ask_all("look", "looked", check, elsewhere)
        with pytest.raises(WorkerError, match="does not see .*elsewhere"):
            list(ClusterProcesses(cluster, elsewhere)(square, [1, 2]))


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


def test_nothing_is_written_without_a_scheduler(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("dask")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(UsageError, match="no Dask scheduler answers there"),
    ):
        build_pool([raw], tmp_path / "pool", scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'medlsam\[cluster\]'"):
        build_pool([raw], tmp_path / "pool", scheduler="local")
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


def test_what_may_kill_has_the_worker_for_itself() -> None:
    room, alone = Room(2), threading.Event()

    def suspect() -> None:
        with room.place(alone=True):
            alone.set()

    thread = threading.Thread(target=suspect)
    with room.place():
        thread.start()
        assert not alone.wait(0.1)
    assert alone.wait(10)
    thread.join()
    with room.place(), room.place():
        pass


def test_notes_are_those_of_the_own_thread(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    logger = logging.getLogger("medlsam.io")
    heard: list[str] = []

    def other() -> None:
        with _notes() as notes:
            logger.warning("b.nii.gz: other")
        heard.extend(notes)

    with _notes() as notes:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        logger.warning("a.nii.gz: own")
        assert not logger.propagate
    assert (notes, heard) == (["own"], ["other"])
    assert logger.propagate
    assert not caplog.records


def test_a_pool_that_cannot_be_written_to_is_no_fault_of_a_scan(raw: Path, tmp_path: Path) -> None:
    (candidate, *_) = find_scans([raw / "files"]).candidates
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "scans").touch()
    with pytest.raises(WorkerError, match="cannot be written .*; what is done stays"):
        do_job(Job(candidate, tmp_path / "pool", 6.0))
    assert not (tmp_path / "pool" / "sources").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sources").touch()  # where the records go
    with pytest.raises(WorkerError, match="cannot be written .*; what is done stays"):
        do_job(Job(candidate, tmp_path / "other", 6.0))


class Cut:
    """A task that was done when the scheduler went, before its result was told."""

    status = "finished"

    def result(self) -> None:
        raise CancelledError


class Ended(list[Cut]):
    """Dask's ``as_completed``."""

    def __init__(self, futures: list[Cut], **_: object) -> None:
        super().__init__(futures)

    add = list.append


def test_a_result_that_is_lost_with_the_scheduler_is_no_fault_of_its_item(tmp_path: Path) -> None:
    distributed = SimpleNamespace(as_completed=Ended, KilledWorker=ZeroDivisionError)
    client = SimpleNamespace(
        loop=None, nthreads=lambda: {"worker": 1}, submit=lambda *_, **__: Cut(), cancel=lambda _: None
    )
    with pytest.raises(WorkerError, match="the scheduler is gone"):
        list(Cluster(distributed, client).run(square, [1, 2], str, Begun(tmp_path)))


def test_a_run_whose_shared_folder_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="what the workers of this run share is gone"):
        Begun(tmp_path / "gone").begin("1")
