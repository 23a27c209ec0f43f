"""The worker's side of a run: the job is loaded once in each process, then items are worked on as they are sent."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from medlsam._version import __version__
from medlsam.errors import UsageError, WorkerError
from medlsam.parallel.attempts import TRIES, Attempts

Item = TypeVar("Item")
Result = TypeVar("Result", covariant=True)
_Contra = TypeVar("_Contra", contravariant=True)


class Job(Protocol[_Contra, Result]):
    """The work of a run, whatever the items are. Pickled once, it travels to every worker process."""

    @property
    def slots(self) -> int:
        """Number of items that one process may hold at the same time."""

    def start(self) -> None:
        """Load and check what the work needs, in the process that does it, before its first item.

        Raises:
            MedlsamError: this process cannot do the work.
        """

    def __call__(self, item: _Contra, following: _Contra | None = None, /) -> Result:
        """Work on an item.

        Args:
            item: what to work on.
            following: the item that comes next, where that is known, so that it can be read meanwhile.
        """


def here() -> str:
    """This process, as ``HOST-PID``."""
    return f"{socket.gethostname()}-{os.getpid()}"


@dataclass(frozen=True)
class JobFile:
    """Where a pickled job lies, and what a worker checks before it unpickles it. Small: it goes with each item.

    Attributes:
        path: in the folder that all workers share; the markers of ``Attempts`` lie beside it.
        sha256: of its content, so that nothing else is unpickled.
        threads: to compute with; None leaves that to whoever started the worker.
        inputs: some of the files that will be read: a worker that does not see them sees other paths.
        version: of medlsam.
    """

    path: Path
    sha256: str
    threads: int | None = None
    inputs: tuple[Path, ...] = ()
    version: str = __version__

    @classmethod
    def write(
        cls, folder: Path, job: Job[Any, Any], threads: int | None = None, inputs: Sequence[Path] = ()
    ) -> JobFile:
        """Pickle a job into a folder.

        Raises:
            UsageError: it holds what cannot be sent to another process.
        """
        try:
            packed = pickle.dumps(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                f"this cannot be sent to other processes ({error}); where it is a model made by hand, load it with "
                "medlsam.load, or leave out jobs and scheduler"
            ) from error
        (folder / "job").write_bytes(packed)
        return cls(folder / "job", hashlib.sha256(packed).hexdigest(), threads, tuple(inputs))

    @property
    def attempts(self) -> Attempts:
        """Which items workers began."""
        return Attempts(self.path.parent)

    def load(self) -> Job[Any, Any]:
        """Unpickle the job in a worker, and start it.

        Raises:
            WorkerError: another version of medlsam, which may give other results, or other paths than where the run
                was started.
            MedlsamError: the job cannot be started here.
        """
        if self.version != __version__:
            raise WorkerError(
                f"{here()} has medlsam {__version__}, the run was started by {self.version}; "
                "install the same version for all workers"
            )
        if self.threads is not None:
            from medlsam.runtime.device import limit_threads

            limit_threads(self.threads)
        try:
            packed = self.path.read_bytes()
            (self.path.parent / f"seen-by-{here()}").touch()
        except OSError as error:
            raise _not_seen(self.path, f" ({error.strerror or error})") from error
        if hashlib.sha256(packed).hexdigest() != self.sha256:
            raise WorkerError(
                f"the worker on {socket.gethostname()} reads another {self.path} than was written; "
                "all workers must share the output folder"
            )
        for file in self.inputs:
            if not file.exists():
                raise _not_seen(file)
        job: Job[Any, Any] = pickle.loads(packed)
        job.start()
        return job


def _not_seen(path: Path, why: str = "") -> WorkerError:
    return WorkerError(
        f"the worker on {socket.gethostname()} does not see {path}{why}; "
        "all workers must see the scans, the weights and the output under the same paths"
    )


class Slots:
    """Limits the items in a worker of several threads; one that may have killed a worker gets it to itself.

    Args:
        count: items at the same time.
    """

    def __init__(self, count: int) -> None:
        self._count = self._free = count
        self._queue = threading.Lock()
        self._change = threading.Condition()

    @contextmanager
    def hold(self, alone: bool = False) -> Iterator[None]:
        """Hold a slot, or all of them, while the block runs."""
        size = self._count if alone else 1
        # One waits at a time, so that whoever needs all slots gets them.
        with self._queue, self._change:
            self._change.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()


class Worker(Generic[Item, Result]):
    """A run's job in this process.

    Args:
        file: the job.

    Raises:
        MedlsamError: see ``JobFile.load``.
    """

    def __init__(self, file: JobFile) -> None:
        self.file = file
        self.job: Job[Item, Result] = file.load()
        self._slots = Slots(self.job.slots)

    def work_on(self, name: str, item: Item, began: Callable[[], object] = lambda: None) -> Result | None:
        """Work on an item; None where that killed workers too often, so that it is not begun again.

        Args:
            name: the item's own.
            item: what to work on.
            began: called once the item has its slot.
        """
        attempts = self.file.attempts
        before = attempts.count(name)
        if before >= TRIES:
            return None
        with self._slots.hold(alone=before > 0), attempts.during(name):
            began()
            return self.job(item)


_worker: Worker[Any, Any] | None = None
_opening = threading.Lock()


def worker_of(file: JobFile) -> Worker[Any, Any]:
    """This process's worker for a run; that of another run goes, and what it had loaded with it."""
    global _worker
    with _opening:
        if _worker is None or _worker.file != file:
            _worker = None
            _worker = Worker(file)
        return _worker
