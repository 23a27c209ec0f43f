"""Dask: a cluster of local processes, or somebody's scheduler and its workers. The only file that imports it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import dask.config
import distributed

from medlsam.errors import MedlsamError, UsageError, WorkerError
from medlsam.parallel.attempts import TRIES
from medlsam.parallel.worker import JobFile, worker_of

# A job that raises is tried again so often: it may be the fault of the worker.
_RETRIES = 2
# Dask gives a task up when workers died that had only queued it; then it is submitted again, at most so often.
_SUBMISSIONS = 10
# Tasks that lie with the scheduler for each thread of its workers: none waits for us, and few go over the wire early.
_AHEAD = 3
# But at least so many: workers that come while items take long find something to do.
_LEAST = 32
# Seconds between two looks whether the workers are still there.
_LOOK_AGAIN = 2.0
_LOCAL_CONFIG = {
    # Dask's setting makes the C library give memory back at once: networks ran at half of their rate.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
    # Samples of what its threads do serve nobody here.
    "distributed.worker.profile.enabled": False,
    # A worker that died is started again; on a busy machine that may take longer than the usual 15 s.
    "distributed.deploy.lost-worker-timeout": "10 minutes",
}
# Run by local workers. Ctrl-C reaches all processes of a terminal; the first one ends the others, without their traces.
_PRELOAD = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
_GUARD = (
    "each worker process imports the program that starts it, so keep that in a file and begin its work under "
    '`if __name__ == "__main__":`, or leave out jobs and scheduler'
)
_log = logging.getLogger(__name__)


@contextmanager
def connected(address: Any) -> Iterator[distributed.Client]:
    """Be connected to a scheduler while the block runs.

    Args:
        address: its address, or a cluster of this process.

    Raises:
        UsageError: no scheduler answers.
    """
    try:
        client = distributed.Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"scheduler {address}: no Dask scheduler answers there ({error}); start one with "
            "`dask scheduler` and workers with `dask worker ADDRESS`"
        ) from error
    with client:
        yield client


@contextmanager
def local_cluster(jobs: int) -> Iterator[distributed.Client]:
    """Have a cluster on this machine while the block runs, and be connected to it.

    Args:
        jobs: workers, each a process with one thread for tasks.

    Raises:
        UsageError: other processes cannot import the program that runs.
        WorkerError: they end while they are started.
    """
    program = getattr(sys.modules["__main__"], "__file__", None)
    # The second is true in a worker process that is still at importing the program.
    if program == "<stdin>" or getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(f"workers cannot be started: {_GUARD}")
    before = set(os.environ)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_LOCAL_CONFIG))
        cluster = distributed.LocalCluster(
            # They are started below, so that Ctrl-C meanwhile finds a cluster that it can close.
            n_workers=0,
            threads_per_worker=1,
            processes=True,
            # Any free port: the usual one may be taken, and nobody asked for it.
            dashboard_address=":0",
            # Dask would kill a worker that holds its share; a large scan may take more than that.
            memory_limit=None,
            preload=[_PRELOAD],
            silence_logs=logging.CRITICAL,
        )
        stack.enter_context(cluster)
        cluster.scale(jobs)
        scheduler: Any = cluster.scheduler
        while len(scheduler.workers) < jobs:
            if any(_has_ended(nanny) for nanny in cluster.workers.values()):
                raise WorkerError(f"the worker processes ended while they were started: {_GUARD}")
            time.sleep(0.02)
        # Dask has set variables for its workers in this process, which keeps its own.
        for name in set(os.environ) - before:
            stack.callback(os.environ.pop, name, None)
        yield stack.enter_context(connected(cluster))


def _has_ended(nanny: Any) -> bool:
    """Whether the watcher over a local worker process has given up."""
    return nanny.status.name in ("closing", "closed", "failed")


class Cluster:
    """The workers of a scheduler, for one job.

    Args:
        client: connected to it.
        file: the job.
    """

    def __init__(self, client: distributed.Client, file: JobFile) -> None:
        self._client = client
        self._file = file
        self._topic = f"medlsam-{file.path.parent.name}"
        self._futures: dict[Any, str] = {}
        self._submissions = Counter[str]()
        # Names of items that are begun, and futures that have ended.
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start(self) -> None:
        """Start the job in every worker that is there; later ones start it at their first item.

        Raises:
            MedlsamError: what a worker raised, with its address.
            WorkerError: it raised something else, or died.
        """
        workers = list(self._client.nthreads())
        if not workers:
            _log.warning("the cluster has no workers yet; the scans wait for the first one")
        futures = {
            worker: self._client.submit(
                _start, self._file, workers=[worker], key=f"{self._topic}-start-{worker}"
            )
            for worker in workers
        }
        for worker, future in futures.items():
            error = self._error(worker, future)
            if isinstance(error, MedlsamError):
                raise type(error)(f"worker {worker}: {error}") from error
            if error is not None:
                raise WorkerError(
                    f"worker {worker}: {type(error).__name__}: {error}; workers need the same medlsam and the "
                    "same Python packages as the process that starts the run"
                ) from error

    def _error(self, worker: str, future: Any) -> BaseException | None:
        """What a worker's own task raised; no other may do it, so that a dead one would be waited for for ever."""
        while True:
            try:
                error: BaseException | None = future.exception(timeout=_LOOK_AGAIN)
                return error
            except TimeoutError:
                if worker not in self._client.nthreads():
                    raise WorkerError(
                        f"worker {worker} died while it loaded what the work needs; often the memory does not "
                        "suffice: let fewer workers share a machine"
                    ) from None

    def run(
        self, items: Mapping[str, Any], began: Callable[[str], object]
    ) -> Iterator[tuple[str, Any | Exception | None]]:
        """Work on items; see ``engine.Run``.

        Raises:
            WorkerError: the scheduler is gone, or no local worker can be started again.
        """
        waiting, beginnings = deque(items), Counter[str]()
        self._client.subscribe_topic(self._topic, lambda event: self._events.put(event[1]))
        self._hand_out(waiting, items)
        while self._futures:
            event = self._next()
            if isinstance(event, str):
                beginnings[event] += 1
                if beginnings[event] > 1:
                    _log.warning("%s is tried again: its process died, or could not do the work", event)
                began(event)
                continue
            name = self._futures.pop(event)
            # The next ones first: whoever takes this result may take its time.
            self._hand_out(waiting, items)
            result: Any
            try:
                result = event.result()
            except distributed.KilledWorker:
                if self._file.attempts.count(name) < TRIES and self._submissions[name] < _SUBMISSIONS:
                    # It was only waiting for a worker that died of another item.
                    self._submit(name, items[name])
                    continue
                result = None
            except CancelledError as error:  # the scheduler went, perhaps after the work was done
                raise _cut_off() from error
            except Exception as error:
                if event.status in ("cancelled", "lost"):
                    raise _cut_off() from error
                result = error
            yield name, result

    def cancel(self) -> None:
        """Let no further item begin, also after Ctrl-C."""
        self._client.cancel(list(self._futures))

    def _hand_out(self, waiting: deque[str], items: Mapping[str, Any]) -> None:
        """Submit so many items that no worker waits."""
        try:
            # Counted anew, since workers come and go.
            threads = sum(self._client.nthreads().values())
        except OSError:  # the scheduler is gone: the tasks will tell
            threads = 1
        while waiting and len(self._futures) < max(_AHEAD * threads, _LEAST):
            name = waiting.popleft()
            self._submit(name, items[name])

    def _submit(self, name: str, item: Any) -> None:
        self._submissions[name] += 1
        key = f"{self._topic}-{name}-{self._submissions[name]}"
        future = self._client.submit(
            _work_on, self._file, self._topic, name, item, key=key, pure=False, retries=_RETRIES
        )
        self._futures[future] = name
        future.add_done_callback(self._events.put)

    def _next(self) -> Any:
        """Wait for an event, but not for local workers that cannot be started any more."""
        while True:
            try:
                return self._events.get(timeout=_LOOK_AGAIN)
            except queue.Empty:
                cluster = self._client.cluster
                if cluster is not None and all(map(_has_ended, cluster.workers.values())):
                    raise WorkerError(
                        "all worker processes have ended and cannot be started again; what is finished is on record, "
                        "and the same command goes on from there"
                    ) from None


def _start(file: JobFile) -> None:
    worker_of(file)


def _work_on(file: JobFile, topic: str, name: str, item: Any) -> Any:
    """Work on an item in a worker, which reports the beginning to those who listen."""
    return worker_of(file).work_on(name, item, partial(distributed.get_worker().log_event, topic, name))


def _cut_off() -> WorkerError:
    return WorkerError(
        "the scheduler is gone, or its client was cut off; what is finished is on record, and the same command goes "
        "on from there"
    )
