"""The same run over a Dask cluster: the only file that imports Dask (the extra ``cluster``)."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from medlsam.batch.job import TRIES, Job, died_on
from medlsam.batch.one_scan import Item, Outcome, failed
from medlsam.batch.output import OutputFolder
from medlsam.batch.run import Run
from medlsam.batch.spread import LOCAL, Outcomes
from medlsam.batch.station import JobFile, check, work_on
from medlsam.errors import MedlsamError, UsageError, WorkerError

#: A task that raises is begun so often again: a scan that fails does not raise, so the fault is the worker's.
RETRIES = 2
# Dask gives a task up when workers died that had only queued it; then it is submitted again, at most so often.
_SUBMISSIONS = 10
# Seconds after which it is looked whether a worker that loads the models is still there.
_LOOK_AGAIN = 2.0
_log = logging.getLogger(__name__)


@contextmanager
def on_cluster(
    run: Run, folder: OutputFolder, items: Sequence[Item], scheduler: str, jobs: int
) -> Iterator[Outcomes]:
    """Have a cluster's workers ready while the block runs: all models are loaded, all paths are seen.

    Raises:
        UsageError: Dask is not installed, no scheduler answers, or the output folder cannot be written to.
        MedlsamError: a worker cannot do the work.
    """
    distributed = _dask()
    local = scheduler == LOCAL
    # Started by us they share this machine; elsewhere whoever started them knows how many threads there are.
    threads = max(1, torch.get_num_threads() // jobs) if local else None
    packed = Job.of(run, folder, threads).packed()
    with ExitStack() as stack:
        # Before the folder, so that it is cleared up when no worker is left that could write there.
        place = stack.enter_context(_place(folder, [item.case.name for item in items]))
        file = JobFile.write(place, packed)
        client = stack.enter_context(_client(distributed, scheduler, jobs))
        # One that is not here either is that scan's own failure.
        _check(client, file, next((i.case.path for i in items if i.case.path.exists()), None))
        yield partial(_outcomes, distributed, client, file, folder, items)


def _dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise UsageError(
            f"a scheduler needs Dask ({error}); install it with: pip install 'medlsam[cluster]'"
        ) from error
    return distributed


@contextmanager
def _place(folder: OutputFolder, cases: Sequence[str]) -> Iterator[Path]:
    """A hidden folder in the output folder, for what the workers share; gone at the end."""
    path = folder.path.absolute()
    new = not path.exists()
    place = path / f".run-{uuid.uuid4().hex[:12]}"
    try:
        place.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be used for the output ({error.strerror or error})") from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        folder.clear(cases)
        # Where a worker was refused nothing has been written.
        if new and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def _client(distributed: Any, scheduler: str, jobs: int) -> Iterator[Any]:
    """Connect to a scheduler, or to one that is started with its workers on this machine."""
    with ExitStack() as stack:
        if scheduler == LOCAL:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=jobs,
                    threads_per_worker=1,
                    processes=True,
                    # Any free port: the usual one may be taken, and nobody asked for it.
                    dashboard_address=":0",
                    # Dask would kill a worker that holds its share; a large scan may take more than that.
                    memory_limit=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        else:
            address = scheduler
        try:
            client = distributed.Client(address, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"scheduler {scheduler}: no Dask scheduler answers there ({error}); start one with "
                "`dask scheduler` and workers with `dask worker ADDRESS`"
            ) from error
        yield stack.enter_context(client)


def _check(client: Any, file: JobFile, scan: Path | None) -> None:
    """Let every worker that is there load the models and look at the paths; later ones do at their first scan."""
    workers = list(client.nthreads())
    if not workers:
        _log.warning("the cluster has no workers yet; the scans wait for the first one")
    futures = {
        worker: client.submit(
            check, file, scan, workers=[worker], key=f"medlsam-check-{file.sha256}-{worker}"
        )
        for worker in workers
    }
    for worker, future in futures.items():
        error = _error(client, worker, future)
        if isinstance(error, MedlsamError):
            raise type(error)(f"worker {worker}: {error}") from error
        if error is not None:
            raise WorkerError(
                f"worker {worker}: {type(error).__name__}: {error}; workers need the same medlsam and the same "
                "Python packages as the process that starts the run"
            ) from error


def _error(client: Any, worker: str, future: Any) -> BaseException | None:
    """What a worker's own task raised; nobody else may do it, so a worker that dies would be waited for for ever."""
    while True:
        try:
            error: BaseException | None = future.exception(timeout=_LOOK_AGAIN)
            return error
        except TimeoutError:
            if worker not in client.nthreads():
                raise WorkerError(
                    f"worker {worker} died while it loaded the models; often the memory does not suffice: "
                    "let fewer workers share a machine"
                ) from None


def _outcomes(
    distributed: Any,
    client: Any,
    file: JobFile,
    folder: OutputFolder,
    items: Sequence[Item],
    started: Callable[[str], None],
) -> Iterator[Outcome]:
    """Submit all scans and take what comes; ``started`` is not called, since the scheduler does not tell."""
    submissions = Counter[str]()

    def submit(item: Item) -> Any:
        name = item.case.name
        submissions[name] += 1
        key = f"medlsam-{file.path.parent.name}-{name}-{submissions[name]}"
        return client.submit(work_on, file, item, key=key, pure=False, retries=RETRIES)

    futures = {submit(item): item for item in items}
    ended = distributed.as_completed(list(futures), loop=client.loop)
    try:
        for future in ended:
            item = futures.pop(future)
            error = future.exception() if future.status == "error" else None
            if future.status == "cancelled":
                raise WorkerError(
                    "the scheduler is gone, or its client was cut off; what is finished is on record, and the "
                    "same command goes on from there"
                )
            if error is None:
                yield future.result()
            elif not isinstance(error, distributed.KilledWorker):
                yield failed(folder, item, error)
            elif file.begun(item.case.name) < TRIES and submissions[item.case.name] < _SUBMISSIONS:
                # It was only waiting for a worker that died of another scan.
                again = submit(item)
                futures[again] = item
                ended.add(again)
            else:
                yield failed(folder, item, died_on(item.case.name, ""))
    finally:
        # What has not begun is not begun any more, also after Ctrl-C.
        client.cancel(list(futures))
