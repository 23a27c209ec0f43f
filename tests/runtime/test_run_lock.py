"""The lock of an output folder, with real processes: who may join, and what a killed one leaves."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import pytest

from medlsam.errors import UsageError
from medlsam.runtime.run_lock import run_lock
from tests.support.paths import ROOT

HOLD = """
import sys
from pathlib import Path
from medlsam.runtime.run_lock import run_lock
with run_lock(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(folder: Path, *shard: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *shard],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("")


def hidden(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob(".lock*"))


def test_a_second_run_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with holding(tmp_path / "out") as process:
        began = time.monotonic()
        with pytest.raises(UsageError) as refused, run_lock(tmp_path / "out"):
            pytest.fail("two at once")
        assert time.monotonic() - began < 5
        words = str(refused.value)
        assert words.startswith(f"{tmp_path / 'out'}: another run is at work in this folder")
        assert f"process {process.pid} on {socket.gethostname()}, since 20" in words
        assert "give another output folder" in words
        assert hidden(tmp_path / "out") == [".lock", ".lock-run"]
    with run_lock(tmp_path / "out"):
        pass


def test_nothing_is_left_of_a_run_that_ends(tmp_path: Path) -> None:
    with run_lock(tmp_path / "new" / "out"):
        assert hidden(tmp_path / "new" / "out") == [".lock", ".lock-run"]
        assert json.loads((tmp_path / "new/out/.lock-run").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "new").exists()

    def fail() -> None:
        with run_lock(tmp_path / "out"):
            (tmp_path / "out" / "result").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["result"]


def test_what_a_killed_run_left_is_taken_over_at_once(tmp_path: Path) -> None:
    for shard in ((), ("1/2",)):
        with holding(tmp_path, *shard) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(hidden(tmp_path)) == 2
        began = time.monotonic()
        with run_lock(tmp_path):
            assert time.monotonic() - began < 5
            assert hidden(tmp_path) == [".lock", ".lock-run"]
        assert hidden(tmp_path) == []


def test_different_shards_share_a_folder_and_nothing_else_does(tmp_path: Path) -> None:
    with holding(tmp_path, "1/2"):
        with run_lock(tmp_path, "2/2"):
            assert hidden(tmp_path) == [".lock", ".lock-shard-1-of-2", ".lock-shard-2-of-2"]
        assert hidden(tmp_path) == [".lock", ".lock-shard-1-of-2"]
        for other in ("1/2", "01/2", None, "2/3"):
            with pytest.raises(UsageError, match="shard 1/2 of a run is at work"), run_lock(tmp_path, other):
                pytest.fail(f"{other} beside 1/2")
    with holding(tmp_path), pytest.raises(UsageError, match="another run"), run_lock(tmp_path, "1/2"):
        pytest.fail("a shard beside the whole")
    assert hidden(tmp_path) == []


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(UsageError, match="at work"), run_lock(tmp_path):
        pytest.fail("two at once")
    assert hidden(tmp_path) == []


def hurry(folder: Path, number: int) -> int:
    """Hold the lock many times for a moment; returns how often somebody else was seen inside."""
    met = 0
    for _ in range(40):
        try:
            with run_lock(folder):
                inside = folder.parent / "inside"
                try:
                    inside.touch(exist_ok=False)
                except FileExistsError:
                    met += 1
                time.sleep(0.002)
                inside.unlink(missing_ok=True)
        except UsageError:
            time.sleep(0.001)
    return met


def test_two_that_hurry_are_never_inside_together(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        met = list(pool.map(hurry, [tmp_path / "out"] * 2, range(2)))
    assert met == [0, 0]
    # Each may have found the folder there, and left it to the other one to remove.
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / "out"])


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no locks here")]
)
def test_without_locks_the_run_goes_on_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(self: Any, *arguments: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with caplog.at_level(logging.WARNING, "medlsam"), run_lock(tmp_path / "out"):
        (tmp_path / "out" / "result").touch()
    assert "this file system knows no locks" in caplog.text
    assert hidden(tmp_path / "out") == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="cannot be used for the output"),
        run_lock(tmp_path / "file" / "out"),
    ):
        pytest.fail("inside of a file")
    with pytest.raises(UsageError, match="shard 'x': give i/n"), run_lock(tmp_path / "out", "x"):
        pytest.fail("no shard")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="Permission denied"), run_lock(tmp_path):
            pytest.fail("read-only")
    finally:
        tmp_path.chmod(0o700)
