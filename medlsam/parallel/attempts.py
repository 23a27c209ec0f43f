"""Records which items workers have begun: an item that kills its worker is known by that, whatever Dask makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medlsam.errors import WorkerError

#: An item whose worker died so often is given up.
TRIES = 2


@dataclass(frozen=True)
class Attempts:
    """Records started but unfinished items as empty marker files.

    Attributes:
        folder: a folder that all workers share.
    """

    folder: Path

    def count(self, name: str) -> int:
        """Number of times that a worker began an item and did not come to its end."""
        return sum(self._marker(name, number).exists() for number in range(1, TRIES + 1))

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        """Keep an attempt on record while the block runs; it stays where the worker dies.

        All attempts go at the end: Dask repeats an item whose result was lost with a worker that died later.
        """
        self.begin(name)
        try:
            yield
        finally:
            for number in range(1, TRIES + 1):
                self._marker(name, number).unlink(missing_ok=True)

    def begin(self, name: str) -> None:
        """Record that an item is begun.

        Raises:
            WorkerError: the folder is gone.
        """
        for number in range(1, TRIES + 1):
            try:
                self._marker(name, number).touch(exist_ok=False)
                return
            except FileExistsError:
                continue
            except OSError as error:
                raise WorkerError(
                    f"{self.folder}: what the workers of this run share is gone ({error.strerror or error}); was its "
                    "folder removed meanwhile? Run the same command again"
                ) from error

    def _marker(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.{number}"
