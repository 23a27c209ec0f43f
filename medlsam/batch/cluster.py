"""The same run over a cluster's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from medlsam.batch.job import Job, died_on
from medlsam.batch.one_scan import Item, Outcome, Outcomes, failed
from medlsam.batch.output import OutputFolder
from medlsam.batch.task import Run
from medlsam.batch.worker import JobFile, check, work_on
from medlsam.parallel import LOCAL
from medlsam.parallel.dask import Cluster, connected
from medlsam.parallel.shared_folder import shared_folder

#: A task that raises is begun so often again: a scan that fails does not raise, so the fault is the worker's.
RETRIES = 2


@contextmanager
def on_cluster(
    run: Run, folder: OutputFolder, items: Sequence[Item], scheduler: str, jobs: int
) -> Iterator[Outcomes]:
    """Have a cluster's workers ready while the block runs: all models are loaded, all paths are seen.

    Raises:
        UsageError: Dask is not installed, no scheduler answers, or the output folder cannot be written to.
        MedlsamError: a worker cannot do the work.
    """
    # Started by us they share this machine; elsewhere whoever started them knows how many threads there are.
    threads = max(1, torch.get_num_threads() // jobs) if scheduler == LOCAL else None
    packed = Job.of(run, folder, threads).packed()
    with ExitStack() as stack:
        # Before the cluster, so that it is cleared up when no worker is left that could write there.
        clear = partial(folder.clear, [item.case.name for item in items])
        file = JobFile.write(stack.enter_context(shared_folder(folder.path, clear)), packed)
        cluster = stack.enter_context(connected(scheduler, jobs))
        # One that is not here either is that scan's own failure.
        scan = next((i.case.path for i in items if i.case.path.exists()), None)
        cluster.ask_all(f"medlsam-check-{file.sha256}", "loaded the models", check, file, scan)
        yield partial(_outcomes, cluster, file, folder, items)


def _outcomes(
    cluster: Cluster,
    file: JobFile,
    folder: OutputFolder,
    items: Sequence[Item],
    started: Callable[[str], None],
) -> Iterator[Outcome]:
    """Take what comes; ``started`` is not called, since the scheduler does not tell."""
    work = partial(work_on, file)
    for item, answer in cluster.run(work, items, lambda i: i.case.name, file.begun, RETRIES):
        if isinstance(answer, Outcome):
            yield answer
        else:
            yield failed(folder, item, died_on(item.case.name, "") if answer is None else answer)
