"""Work on many items: in this process, in several of this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

from medlsam.errors import UsageError
from medlsam.parallel.shared_folder import shared_folder
from medlsam.parallel.worker import Job, JobFile

Item = TypeVar("Item")
Result = TypeVar("Result")

#: In place of a scheduler's address: a cluster that is started with its workers on this machine.
LOCAL = "local"

#: Each item's name with its result, in whatever order they end; or with the exception that the job raised; or with
#: None where the item killed its worker so often (``TRIES``) that it is given up.
Results: TypeAlias = Iterator[tuple[str, Result | Exception | None]]
#: Begins the work; calls its argument with the name of each item that is begun.
Run: TypeAlias = Callable[[Callable[[str], object]], Results[Result]]


def check_processes(jobs: int, scheduler: str | None, least: int = 1) -> None:
    """Refuse a wrong number of processes, before any work.

    Args:
        jobs: processes of this machine.
        scheduler: None; ``local``; or a Dask scheduler's address.
        least: the smallest number of processes.

    Raises:
        UsageError: a number below ``least``, no address, or jobs for a cluster that has its own.
    """
    number: object = jobs
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise UsageError(f"jobs: a whole number, {least} or more, is needed, got {jobs!r}")
    if scheduler in (None, LOCAL):
        return
    if not str(scheduler).strip() or ":" not in str(scheduler):
        raise UsageError(
            f"scheduler {scheduler!r}: give the address of a Dask scheduler (tcp://host:8786), "
            f"or {LOCAL} for workers on this machine"
        )
    if jobs != 1:
        raise UsageError(
            f"jobs {jobs} with scheduler {scheduler}: that cluster has its own workers; "
            f"leave jobs out, or give --scheduler {LOCAL}"
        )


@contextmanager
def workers(
    job: Job[Item, Result],
    items: Mapping[str, Item],
    output: Path,
    jobs: int = 1,
    scheduler: str | None = None,
    inputs: Sequence[Path] = (),
    clear: Callable[[], None] | None = None,
) -> Iterator[Run[Result]]:
    """Have workers ready while the block runs: each has started the job and sees the same files.

    Args:
        job: the work.
        items: what to work on, by name; where there are none, nothing is started.
        output: a folder that all workers see, for what they share; made where it is needed.
        jobs: processes of this machine; 0 or 1 without a scheduler works in this process.
        scheduler: None; ``local`` for a cluster of ``jobs`` workers on this machine; or a Dask scheduler's address.
        inputs: some of the files that the job will read, as absolute paths.
        clear: called at the end, when no other process works any more.

    Yields:
        The run: it raises ``WorkerError`` where the scheduler or all workers are gone.

    Raises:
        UsageError: no scheduler answers, the output folder cannot be written to, the job cannot be sent to other
            processes, or they cannot import the program that starts them.
        MedlsamError: the job cannot be started.
    """
    jobs = min(jobs, len(items))
    if not items:
        yield lambda began: iter(())
    elif scheduler is None and jobs <= 1:
        job.start()
        try:
            yield partial(_in_turn, job, items)
        finally:
            if clear is not None:
                clear()
    else:
        # Here, so that a run in this process does not wait for Dask's import.
        from medlsam.parallel.dask import Cluster, connected, local_cluster

        local = scheduler in (None, LOCAL)
        # The cluster ends first: nothing is at work any more when the folder goes.
        with shared_folder(output, clear) as folder:
            file = JobFile.write(folder, job, _threads_each(jobs) if local else None, inputs)
            with local_cluster(jobs) if local else connected(scheduler) as client:
                cluster = Cluster(client, file)
                try:
                    cluster.start()
                    yield partial(cluster.run, items)
                finally:
                    cluster.cancel()


def _in_turn(
    job: Job[Item, Result], items: Mapping[str, Item], began: Callable[[str], object]
) -> Results[Result]:
    following = iter([*list(items.values())[1:], None])
    for name, item in items.items():
        began(name)
        result: Result | Exception
        try:
            result = job(item, next(following))
        except Exception as error:
            result = error
        yield name, result


def _threads_each(jobs: int) -> int:
    """Threads for each of so many processes, which share those that this one computes with."""
    import torch

    return max(1, torch.get_num_threads() // jobs)
