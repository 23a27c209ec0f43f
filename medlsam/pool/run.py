"""Work over many items in local processes, of which one may be killed without harm to the others.

``Runner`` is all that a build knows of how its work is spread; ``cluster`` has another one.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Libraries that would use all cores in each of the processes.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Runner(Protocol):
    """Runs a function on many items, in any order.

    Yields each item with its result; None in place of the result where the process that had it was killed.
    """

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | None]]:
        """Run ``work`` on every item; both must be picklable."""


class LocalProcesses:
    """A ``Runner`` on this machine.

    Where a process dies, all that was under way is tried again one by one, so that only the item that kills is lost.

    Args:
        jobs: processes; 0 runs everything in the calling process.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | None]]:
        """See ``Runner``."""
        if self.jobs == 0:
            for item in items:
                yield item, work(item)
            return
        waiting = list(items)[::-1]
        suspects: list[Item] = []
        while waiting or suspects:
            alone = bool(suspects)
            queue = [suspects.pop()] if alone else waiting
            jobs = 1 if alone else min(self.jobs, len(queue))
            lost: list[Item] = []
            yield from self._until_broken(work, queue, jobs, lost)
            if alone:
                yield from ((item, None) for item in lost)
            else:
                suspects += lost

    def _until_broken(
        self, work: Callable[[Item], Result], queue: list[Item], jobs: int, lost: list[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Empty ``queue`` from its end; where a process is killed, stop, with what was under way in ``lost``."""
        running: dict[Future[Result], Item] = {}
        executor = _executor(jobs)
        try:
            # No more is handed out than is worked on, so that little is lost with a process.
            while (queue or running) and not lost:
                while queue and len(running) < jobs and not lost:
                    item = queue.pop()
                    try:
                        running[executor.submit(work, item)] = item
                    except BrokenProcessPool:
                        lost.append(item)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        lost.append(item)
                    else:
                        yield item, result
            lost += running.values()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _executor(jobs: int) -> ProcessPoolExecutor:
    for name in _THREADS:
        # Read when the libraries are loaded, in the new processes. What a person has set stays.
        os.environ.setdefault(name, "1")
    # Not forked: the libraries' threads would not survive that.
    fresh = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, fresh, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Let a process end when the one that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a started process"

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
