"""One engine, wherever it works: the same results, whoever dies meanwhile, and no process is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from functools import partial
from pathlib import Path
from typing import Any

import dask
import pytest

import medlsam
from medlsam.errors import UsageError, WeightsError, WorkerError
from medlsam.parallel.attempts import Attempts
from medlsam.parallel.dask import Cluster, connected
from medlsam.parallel.engine import check_processes, workers
from medlsam.parallel.shared_folder import PREFIX, shared_folder
from medlsam.parallel.worker import JobFile, Slots, Worker, worker_of
from tests.support.interrupts import after_making
from tests.support.jobs import (
    BrokenJob,
    FunctionJob,
    die_at_two,
    die_once,
    fail_at_two,
    manners,
    square,
)
from tests.support.paths import ROOT
from tests.support.processes import of_session, until


def numbers(count: int) -> dict[str, int]:
    return {str(n): n for n in range(count)}


def results(function: Any, count: int, output: Path, **where: Any) -> tuple[dict[str, Any], list[str]]:
    """Results by name, and the names in the order in which their items were begun."""
    began: list[str] = []
    with workers(FunctionJob(function), numbers(count), output, **where) as run:
        return dict(run(began.append)), began


def test_in_this_process_items_come_in_order(tmp_path: Path) -> None:
    found, began = results(fail_at_two, 4, tmp_path / "out")
    assert list(found) == began == ["0", "1", "2", "3"]
    assert isinstance(found.pop("2"), ZeroDivisionError)
    assert found == {"0": 0, "1": 1, "3": 9}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_an_interrupt_left_is_cleared(jobs: int, tmp_path: Path) -> None:
    cleared: list[bool] = []

    def interrupted() -> None:
        where = {"jobs": jobs, "clear": lambda: cleared.append(True)}
        with workers(FunctionJob(square), numbers(2), tmp_path / "out", **where):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert cleared == [True]


def test_a_shared_folder_goes_also_where_ctrl_c_comes_just_after_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_making(monkeypatch, "mkdir", PREFIX)
    with pytest.raises(KeyboardInterrupt), shared_folder(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_the_following_item_is_known_in_this_process(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Job(FunctionJob):
        def __call__(self, item: Any, following: Any = None) -> Any:
            seen.append((item, following))

    with workers(Job(square), numbers(3), tmp_path) as run:
        list(run(str))
    assert seen == [(0, 1), (1, 2), (2, None)]


def test_nothing_is_started_for_nothing(tmp_path: Path) -> None:
    with workers(BrokenJob(square), {}, tmp_path, scheduler="tcp://127.0.0.1:9") as run:
        assert list(run(str)) == []


def test_only_the_item_that_kills_twice_is_lost(tmp_path: Path, address: str) -> None:
    found, began = results(die_at_two, 5, tmp_path / "out", scheduler=address)
    assert found == {"0": 0, "1": 1, "2": None, "3": 9, "4": 16}
    assert set(began) >= {"0", "1", "3", "4"}
    assert not (tmp_path / "out").exists()


def test_what_killed_its_worker_once_is_tried_again(tmp_path: Path, address: str) -> None:
    # More than lie with the scheduler at once.
    count = 40
    found, began = results(partial(die_once, tmp_path / "flag"), count, tmp_path / "out", scheduler=address)
    assert found == {str(n): n * n for n in range(count)}
    assert set(began) == set(found)
    assert (tmp_path / "flag").exists()


def test_what_a_job_raises_comes_with_its_name(tmp_path: Path, address: str) -> None:
    found, began = results(fail_at_two, 3, tmp_path / "out", scheduler=address)
    assert isinstance(found.pop("2"), ZeroDivisionError)
    assert found == {"0": 0, "1": 1}
    # Another worker may be able to do it.
    assert began.count("2") == 3


def test_local_workers_keep_memory_share_threads_and_leave_ctrl_c_to_who_started_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # The other tests' cluster lives in this process and set it here too; what somebody has set stays.
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    before = dict(os.environ)
    found, began = results(manners, 2, tmp_path / "out", jobs=2)
    assert found == {"0": (None, True, 3), "1": (None, True, 3)}
    assert sorted(began) == ["0", "1"]
    assert dict(os.environ) == before


def test_a_job_that_does_not_start_fails_the_call(tmp_path: Path, address: str) -> None:
    for where in ({}, {"scheduler": address}):
        with (
            pytest.raises(WeightsError, match="w.safetensors: damaged"),
            workers(BrokenJob(square), numbers(2), tmp_path / "out", **where),
        ):
            pass
        assert not (tmp_path / "out").exists()


def test_a_worker_that_cannot_do_the_work_says_why(tmp_path: Path, address: str) -> None:
    job, there = FunctionJob(square), tmp_path / "there"
    there.touch()
    file = JobFile.write(tmp_path, job, inputs=[there])
    worker = worker_of(file)
    assert worker_of(file) is worker
    assert worker.work_on("3", 3) == 9
    with pytest.raises(WorkerError, match="does not see .*elsewhere; all workers must see the scans"):
        Worker(JobFile.write(tmp_path, job, inputs=[tmp_path / "elsewhere"]))
    with pytest.raises(WorkerError, match="does not see .*/job"):
        Worker(JobFile(tmp_path / "no such folder" / "job", file.sha256))
    with pytest.raises(WorkerError, match="reads another"):
        Worker(JobFile(file.path, "0" * 64))
    with pytest.raises(WorkerError, match="install the same version"):
        Worker(JobFile(file.path, file.sha256, version="0.0.1"))
    with (
        pytest.raises(WorkerError, match=r"worker tcp://.* does not see .*elsewhere"),
        workers(job, numbers(2), tmp_path / "out", scheduler=address, inputs=[tmp_path / "elsewhere"]),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_a_worker_that_comes_later_says_why_it_cannot_do_the_work(tmp_path: Path, address: str) -> None:
    file = JobFile.write(tmp_path, FunctionJob(square), inputs=[tmp_path / "elsewhere"])
    with connected(address) as client:
        found = dict(Cluster(client, file).run(numbers(2), str))
    for error in found.values():
        assert isinstance(error, WorkerError)
        assert "does not see" in str(error)
    assert file.attempts.count("0") == 0


def test_an_item_that_two_workers_died_over_is_not_begun_again(tmp_path: Path) -> None:
    file = JobFile.write(tmp_path, FunctionJob(square))
    worker: Worker[int, int] = Worker(file)
    assert file.attempts.count("a") == 0
    file.attempts.begin("a")
    assert worker.work_on("a", 3) == 9
    # Nobody died after all: it may be done again, where its result was lost.
    assert file.attempts.count("a") == 0
    for _ in range(2):
        file.attempts.begin("a")
    assert worker.work_on("a", 3) is None


def test_what_may_kill_has_the_worker_for_itself() -> None:
    slots, alone = Slots(2), threading.Event()

    def suspect() -> None:
        with slots.hold(alone=True):
            alone.set()

    thread = threading.Thread(target=suspect)
    with slots.hold():
        thread.start()
        assert not alone.wait(0.1)
    assert alone.wait(10)
    thread.join()
    with slots.hold(), slots.hold():
        pass


def test_a_job_that_cannot_be_sent(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="load it with medlsam.load"),
        workers(FunctionJob(lambda item: item), numbers(2), tmp_path / "out", jobs=2),
    ):
        pass
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("jobs", "scheduler", "message"),
    [
        (0, None, "1 or more"),
        (True, None, "1 or more"),
        (1, "somewhere", "give the address of a Dask scheduler"),
        (1, " ", "give the address of a Dask scheduler"),
        (2, "tcp://host:1", "has its own workers"),
    ],
)
def test_wrong_calls(jobs: int, scheduler: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_processes(jobs, scheduler)


def test_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        pytest.raises(UsageError, match="no Dask scheduler answers there"),
        workers(FunctionJob(square), numbers(1), tmp_path / "out", scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    assert not (tmp_path / "out").exists()


def test_one_file_imports_dask() -> None:
    package = Path(medlsam.__file__).parent
    imports = re.compile(r"^\s*(import|from) (dask|distributed)\b", re.MULTILINE)
    found = [file for file in package.rglob("*.py") if imports.search(file.read_text(encoding="utf-8"))]
    assert [str(file.relative_to(package)) for file in found] == ["parallel/dask.py"]


class FakeTask:
    """A task that was done when the scheduler went, or that does not end."""

    status = "finished"

    def add_done_callback(self, tell: Any) -> None:
        tell(self)

    def result(self) -> None:
        raise CancelledError

    def exception(self, timeout: float) -> None:
        raise TimeoutError


class FakeClient:
    """A client of one worker."""

    cluster = None
    asked = 0

    def nthreads(self) -> dict[str, int]:
        """The worker, which is gone when it is looked for again."""
        self.asked += 1
        return {"tcp://w": 1} if self.asked == 1 else {}

    def submit(self, *_: Any, **__: Any) -> Any:
        return FakeTask()

    def subscribe_topic(self, *_: Any) -> None:
        """Nothing is heard."""


def test_a_worker_that_dies_over_the_models_is_not_waited_for(tmp_path: Path) -> None:
    file = JobFile.write(tmp_path, FunctionJob(square))
    with pytest.raises(WorkerError, match="tcp://w died while it loaded what the work needs"):
        Cluster(FakeClient(), file).start()


def test_a_result_that_is_lost_with_the_scheduler_is_no_fault_of_its_item(tmp_path: Path) -> None:
    file = JobFile.write(tmp_path, FunctionJob(square))
    with pytest.raises(WorkerError, match="the scheduler is gone"):
        list(Cluster(FakeClient(), file).run(numbers(2), str))


def test_a_run_whose_shared_folder_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="what the workers of this run share is gone"):
        Attempts(tmp_path / "gone").begin("1")


WITHOUT_GUARD = """
import sys
from pathlib import Path
from medlsam.parallel.engine import workers
from tests.support.jobs import FunctionJob, sleep_long, square
from functools import partial
"""
SQUARES = """
with workers(FunctionJob(square), {"a": 1, "b": 2}, Path(sys.argv[1]), 2) as run:
    print(dict(run(print)))
"""
SLEEP = """
if __name__ == "__main__":
    job = FunctionJob(partial(sleep_long, Path(sys.argv[2])))
    with workers(job, {"a": 1, "b": 2, "c": 3}, Path(sys.argv[1]), 2) as run:
        print(dict(run(print)))
"""


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_program_that_workers_cannot_import_fails_with_the_remedy(tmp_path: Path, way: str) -> None:
    (tmp_path / "script.py").write_text(WITHOUT_GUARD + SQUARES)
    script = str(tmp_path / "script.py") if way == "file" else "-"
    done = subprocess.run(
        [sys.executable, script, str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input=WITHOUT_GUARD + SQUARES if way == "standard input" else "",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert 'begin its work under `if __name__ == "__main__":`' in done.stderr.strip().splitlines()[-1]
    assert not done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked for in /proc")
def test_no_worker_outlives_a_program_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WITHOUT_GUARD + SLEEP)
    at_work = tmp_path / "at work"
    at_work.mkdir()
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "out"), str(at_work)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as program:
        until(lambda: len(list(at_work.iterdir())) == 2)
        assert len(of_session(program.pid)) >= 3
        program.kill()
    until(lambda: not of_session(program.pid))
