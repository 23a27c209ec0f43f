"""A ``Runner`` over a cluster's workers, which share the pool's folder and the raw ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from medlsam._version import __version__
from medlsam.parallel.attempts import TRIES, Begun, Room
from medlsam.parallel.dask import Cluster, connected
from medlsam.parallel.shared_folder import shared_folder
from medlsam.parallel.worker import check_version, here, not_seen

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What every worker has to see.
_ALL = "the pool and the raw folders"
# Of this process, where it is a worker.
_room = Room(os.cpu_count() or 1)


@dataclass(frozen=True)
class Shared:
    """What the workers of a build share. Small: it goes with each item.

    Attributes:
        place: a hidden folder in the pool's.
        files: raw ones, that stand for all.
        version: of medlsam.
    """

    place: Path
    files: tuple[Path, ...]
    version: str = __version__


@contextmanager
def on_cluster(pool: Path, files: Sequence[Path], scheduler: str, jobs: int) -> Iterator[ClusterProcesses]:
    """Have a cluster's workers ready while the block runs: all of them see all paths.

    Args:
        pool: its folder; made if it is not there.
        files: one of each raw folder.
        scheduler: its address, or ``local``.
        jobs: the workers of a local one.

    Raises:
        UsageError: Dask is not installed, no scheduler answers, or the folder cannot be written to.
        WorkerError: a worker does not see a path, or has another version.
    """
    # The cluster ends first: nothing is at work any more when the folder goes.
    with shared_folder(pool) as place, connected(scheduler, jobs) as cluster:
        # What is gone meanwhile is no fault of the workers.
        shared = Shared(place, tuple(file for file in files if file.exists()))
        cluster.ask_all(f"medlsam-check-{place.name}", "looked for the scans", check, shared)
        yield ClusterProcesses(cluster, shared)


class ClusterProcesses:
    """A ``Runner``; of what kills its worker, only that is lost which kills it twice.

    Args:
        cluster: whose workers do the work.
        shared: what they see.
    """

    def __init__(self, cluster: Cluster, shared: Shared) -> None:
        self.cluster = cluster
        self.shared = shared

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | None]]:
        """See ``Runner``.

        Raises:
            WorkerError: a worker that came later does not see a path, or the scheduler is gone.
        """
        task = partial(work_on, self.shared, work)
        numbered = list(enumerate(items))
        for (_, item), answer in self.cluster.run(
            task, numbered, lambda entry: str(entry[0]), Begun(self.shared.place)
        ):
            if isinstance(answer, Exception):
                raise answer
            yield item, answer


@lru_cache(maxsize=1)
def check(shared: Shared) -> None:
    """See whether this process can work for a build; asked again only if it cannot.

    Raises:
        WorkerError: it cannot.
    """
    check_version(shared.version)
    try:
        (shared.place / f"seen-by-{here()}").touch()
    except OSError as error:
        raise not_seen(shared.place, _ALL, error.strerror or str(error)) from error
    for file in shared.files:
        if not file.exists():
            raise not_seen(file, _ALL)


def work_on(shared: Shared, work: Callable[[Item], Result], numbered: tuple[int, Item]) -> Result | None:
    """Work on an item in a cluster's worker, unless that killed workers too often: then None."""
    check(shared)
    number, item = numbered
    begun, name = Begun(shared.place), str(number)
    times = begun.times(name)
    if times >= TRIES:
        return None
    with _room.place(alone=times > 0), begun.at(name):
        return work(item)
