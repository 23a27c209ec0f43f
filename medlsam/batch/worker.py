"""A run's work on its scans, in whichever process: one scan is read while another one is computed."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from medlsam.batch.one_scan import Item, Outcome, Scan, one_scan, read_scan
from medlsam.batch.output import OutputFolder
from medlsam.batch.task import Run
from medlsam.errors import WorkerError
from medlsam.options import InferenceOptions
from medlsam.parallel.worker import here
from medlsam.pipeline.model import MedLSAM, load


class ScanJob:
    """The ``Job`` of a run. Pickled, it holds how the model was loaded, and loads it where it is unpickled.

    The model itself travels where it was not loaded by ``medlsam.load``. Templates travel as they are, since a
    ``.medlsam`` file rounds what templates of a folder hold.

    Attributes:
        run: what to do.
        folder: where the results go.
        weights: network to the sha256 that its weights must have.
        slots: scans that a process holds at most: one is read while another one is computed.
    """

    slots = 2

    def __init__(self, run: Run, folder: OutputFolder, weights: dict[str, str] | None = None) -> None:
        self.run = run
        self.folder = folder
        self.weights = weights or {kind: entry["sha256"] for kind, entry in run.weights().items()}
        self._network = threading.Lock()
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: dict[str, Future[Scan]] = {}

    def __reduce__(self) -> Any:
        run, folder = self.run, self.folder.path.absolute()
        model = run.model if run.model.source is None else run.model.source
        task = (run.command, run.templates, run.options, run.work, run.boxes)
        return _unpickled, (model, task, folder, self.weights)

    def start(self) -> None:
        """Load the networks and compare their weights.

        Raises:
            WeightsError: a network cannot be loaded.
            WorkerError: other weights than where the run was started.
        """
        self.run.load()
        for kind, entry in self.run.weights().items():
            if entry["sha256"] != self.weights[kind]:
                raise WorkerError(
                    f"{here()} has other weights of the {kind} {entry['name']} (sha256 "
                    f"{entry['sha256'][:12]}...) than where the run was started "
                    f"({self.weights[kind][:12]}...); give all workers the same file"
                )

    def __call__(self, item: Item, following: Item | None = None) -> Outcome:
        """Work on a scan; the following one is read meanwhile, so that two are in memory at most."""
        reading = self._ahead.pop(item.case.name, None)
        if following is not None:
            self._reader = self._reader or ThreadPoolExecutor(1, thread_name_prefix="read")
            self._ahead[following.case.name] = self._reader.submit(read_scan, following.case)
        read = partial(read_scan, item.case) if reading is None else reading.result
        del reading
        return one_scan(self.run, self.folder, item, read, self._network)


def _unpickled(
    model: MedLSAM | InferenceOptions, task: tuple[Any, ...], folder: Path, weights: dict[str, str]
) -> ScanJob:
    """The job in a worker process, which writes under a name of its own."""
    command, *rest = task
    run = Run(command, load(model) if isinstance(model, InferenceOptions) else model, *rest)
    return ScanJob(run, OutputFolder(folder, command, here()), weights)
