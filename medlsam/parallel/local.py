"""Several processes of this machine at work; one that dies is replaced, and its scan tried once more.

Not ``concurrent.futures``: there one process that dies breaks the whole pool, and nobody knows which scan it had.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection, wait

import torch

from medlsam.batch.job import Job, died_on
from medlsam.batch.one_scan import Item, Outcome, Outcomes, failed, one_scan
from medlsam.batch.output import OutputFolder
from medlsam.batch.read_ahead import read_scan
from medlsam.batch.task import Run
from medlsam.errors import MedlsamError, WorkerError
from medlsam.parallel.attempts import TRIES

# A process that was told to end is killed after so many seconds.
_PATIENCE = 5.0
_log = logging.getLogger(__name__)


@contextmanager
def in_processes(run: Run, folder: OutputFolder, items: Sequence[Item], jobs: int) -> Iterator[Outcomes]:
    """Have ``jobs`` processes ready while the block runs; they share the processors evenly.

    Raises:
        MedlsamError: a process cannot load the models.
    """
    packed = Job.of(run, folder, max(1, torch.get_num_threads() // jobs)).packed()
    crew = _Crew(packed, jobs)
    try:
        crew.wait_until_loaded()
        yield partial(_outcomes, crew, folder, items)
    finally:
        crew.end()
        folder.clear(item.case.name for item in items)


def serve(packed: bytes, connection: Connection) -> None:
    """What a process does: load the job, say so, then answer every scan with its outcome."""
    # Ctrl-C reaches all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run, folder = Job.unpacked(packed).start()
    except Exception as error:
        known = isinstance(error, MedlsamError)
        connection.send(error if known else WorkerError(f"{type(error).__name__}: {error}"))
        return
    connection.send(None)
    while True:
        try:
            item: Item = connection.recv()
            connection.send(one_scan(run, folder, item, partial(read_scan, item.case.path)))
        except (EOFError, OSError):  # nobody is left to work for
            return


class _Worker:
    """A process, our end of its pipe, and the scan that it has."""

    def __init__(self, packed: bytes) -> None:
        # A fork would copy torch's threads in the middle of what they hold.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(packed, theirs), daemon=True)
        self.process.start()
        # Only its own end keeps the pipe open, so that its death closes it.
        theirs.close()
        self.loaded = False
        self.item: Item | None = None

    def answer(self) -> Outcome | MedlsamError | None:
        """What it sent: None once it has loaded the job, or why it cannot; then outcomes.

        Raises:
            EOFError: it died.
        """
        try:
            answer: Outcome | MedlsamError | None = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(_PATIENCE)
            raise EOFError(self.how()) from error
        return answer

    def how(self) -> str:
        code = self.process.exitcode
        if code is None or code >= 0:
            return f" (exit code {code})"
        return f" ({signal.Signals(-code).name})"

    def end(self) -> None:
        self.process.terminate()
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class _Crew:
    """The workers of a run."""

    def __init__(self, packed: bytes, jobs: int) -> None:
        self.packed = packed
        self.workers = [_Worker(packed) for _ in range(jobs)]

    def wait_until_loaded(self) -> None:
        """Let all load the models: what goes wrong there is no fault of a scan."""
        for worker in self.workers:
            self.load(worker)

    def load(self, worker: _Worker) -> None:
        """Take a worker's first answer."""
        try:
            answer = worker.answer()
        except EOFError as error:
            raise WorkerError(
                f"a process died while it loaded the models{error}; often the memory does not suffice: "
                "give fewer --jobs"
            ) from error
        if isinstance(answer, MedlsamError):
            raise answer
        worker.loaded = True

    def replace(self, worker: _Worker) -> None:
        """A new process for one that died."""
        worker.end()
        self.workers[self.workers.index(worker)] = _Worker(self.packed)

    def drop(self, worker: _Worker) -> None:
        """Go on with one less."""
        worker.end()
        self.workers.remove(worker)

    def end(self) -> None:
        """End all, whatever they are doing; results are moved to their place whole or not at all."""
        for worker in self.workers:
            worker.end()


def _outcomes(
    crew: _Crew, folder: OutputFolder, items: Sequence[Item], started: Callable[[str], None]
) -> Iterator[Outcome]:
    waiting, tries, left = deque(items), Counter[str](), len(items)
    while left:
        for worker in crew.workers:
            if worker.loaded and worker.item is None and waiting:
                _give(worker, waiting, started)
        for connection in wait([worker.connection for worker in crew.workers]):
            (worker,) = (worker for worker in crew.workers if worker.connection is connection)
            if not worker.loaded:
                try:
                    crew.load(worker)
                except MedlsamError as error:
                    crew.drop(worker)
                    _log.warning("a process could not be replaced: %s", error)
                    if not crew.workers:
                        yield from (failed(folder, item, error) for item in waiting)
                        return
                continue
            item = worker.item
            try:
                answer = worker.answer()
            except EOFError as error:
                crew.replace(worker)
                if item is None:
                    continue
                name = item.case.name
                tries[name] += 1
                _log.warning("%s: the process that worked on it died%s", name, error)
                if tries[name] < TRIES:
                    waiting.append(item)
                    continue
                answer = failed(folder, item, died_on(name, str(error)))
            else:
                worker.item = None
            assert isinstance(answer, Outcome)
            left -= 1
            yield answer


def _give(worker: _Worker, waiting: deque[Item], started: Callable[[str], None]) -> None:
    """Hand a worker its next scan; where it is dead, its pipe's end tells so at once."""
    item = waiting.popleft()
    try:
        worker.connection.send(item)
    except OSError:
        waiting.appendleft(item)
        return
    worker.item = item
    started(item.case.name)
