"""Over which processes the scans of a run are spread: this one, several of this machine, or a cluster's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from medlsam.batch.one_scan import Item, Outcome, Outcomes, one_scan
from medlsam.batch.output import OutputFolder
from medlsam.batch.read_ahead import read_ahead
from medlsam.batch.task import Run
from medlsam.parallel import check_processes


@dataclass(frozen=True)
class Spread:
    """Over which processes.

    Attributes:
        jobs: processes of this machine.
        scheduler: None; ``local`` for a Dask cluster on this machine; or a Dask scheduler's address.

    Raises:
        UsageError: a number below 1, or jobs for a cluster that has its own.
    """

    jobs: int = 1
    scheduler: str | None = None

    def __post_init__(self) -> None:
        check_processes(self.jobs, self.scheduler)

    def over(self, run: Run, folder: OutputFolder, items: Sequence[Item]) -> AbstractContextManager[Outcomes]:
        """Have processes ready, all models loaded, while the block runs.

        Raises:
            WeightsError: a network cannot be loaded.
            WorkerError: a process cannot do this work.
            UsageError: Dask is not installed, or no scheduler answers.
        """
        if not items:
            return nullcontext(lambda started: iter(()))
        jobs = min(self.jobs, len(items))
        if self.scheduler is not None:
            from medlsam.batch.cluster import on_cluster

            return on_cluster(run, folder, items, self.scheduler, jobs)
        if jobs > 1:
            from medlsam.parallel.local import in_processes

            return in_processes(run, folder, items, jobs)
        run.load()
        return nullcontext(partial(_in_turn, run, folder, items))


def _in_turn(
    run: Run, folder: OutputFolder, items: Sequence[Item], started: Callable[[str], None]
) -> Iterator[Outcome]:
    """One scan after the other in this process; the next one is read meanwhile."""
    by_name = {item.case.name: item for item in items}
    for case, reading in read_ahead([item.case for item in items]):
        started(case.name)
        yield one_scan(run, folder, by_name[case.name], reading.result)
