"""Which items workers are at: what kills a worker is known by that, whatever the scheduler makes of its death."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medlsam.errors import WorkerError

#: What its worker died over so often is given up.
TRIES = 2


@dataclass(frozen=True)
class Begun:
    """Word of beginnings that had no end, as empty files.

    Attributes:
        folder: a folder that all workers share.
    """

    folder: Path

    def times(self, name: str) -> int:
        """How often a worker began with an item and did not come to its end."""
        return sum(self._word(name, number).exists() for number in range(1, TRIES + 1))

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Be at work on an item while the block runs: word of it stays where the worker dies.

        It goes at the end, since Dask has an item done again whose result was lost with a worker that died later.
        """
        self.begin(name)
        try:
            yield
        finally:
            for number in range(1, TRIES + 1):
                self._word(name, number).unlink(missing_ok=True)

    def begin(self, name: str) -> None:
        """Leave word of a beginning.

        Raises:
            WorkerError: the folder is gone.
        """
        for number in range(1, TRIES + 1):
            try:
                self._word(name, number).touch(exist_ok=False)
                return
            except FileExistsError:
                continue
            except OSError as error:
                raise WorkerError(
                    f"{self.folder}: what the workers of this run share is gone ({error.strerror or error}); was its "
                    "folder removed meanwhile? Run the same command again"
                ) from error

    def _word(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}"


class Room:
    """Room for some items in a worker of several threads.

    What may have killed a worker gets all of it, so that no other item goes down with it again.

    Args:
        places: items at the same time.
    """

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._queue = threading.Lock()
        self._change = threading.Condition()

    @contextmanager
    def place(self, alone: bool = False) -> Iterator[None]:
        """Hold a place, or all of them, while the block runs."""
        size = self._places if alone else 1
        # One waits at a time, so that who needs all of the room gets it.
        with self._queue, self._change:
            self._change.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._change:
                self._free += size
                self._change.notify_all()
