"""A run as it travels to another process, which loads the models itself, once."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medlsam._version import __version__
from medlsam.batch.output import OutputFolder
from medlsam.batch.task import Run, Work
from medlsam.errors import UsageError, WorkerError
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.options import InferenceOptions
from medlsam.parallel.attempts import TRIES
from medlsam.parallel.worker import check_version, here
from medlsam.pipeline.model import MedLSAM, load
from medlsam.runtime.device import limit_threads


@dataclass(frozen=True)
class Job:
    """All that a process needs to know before the first scan.

    Attributes:
        command: see ``Run``.
        model: how to load it; the model itself where it was not loaded by ``medlsam.load``.
        templates: see ``Run``; as they are, since a ``.medlsam`` file rounds what templates of a folder hold.
        options: see ``Run``.
        work: see ``Run``.
        output: the output folder.
        weights: network to the sha256 that its weights must have.
        threads: to compute with; None leaves it to whoever started the process.
        version: of medlsam.
    """

    command: Literal["segment", "localize"]
    model: MedLSAM | InferenceOptions
    templates: TemplateSet
    options: InferenceOptions
    work: Work
    output: Path
    weights: dict[str, str]
    threads: int | None
    version: str = __version__

    @classmethod
    def of(cls, run: Run, folder: OutputFolder, threads: int | None) -> Job:
        """The job of a run."""
        return cls(
            command=run.command,
            model=run.model if run.model.source is None else run.model.source,
            templates=run.templates,
            options=run.options,
            work=run.work,
            output=folder.path.absolute(),
            weights={kind: entry["sha256"] for kind, entry in run.weights().items()},
            threads=threads,
        )

    def packed(self) -> bytes:
        """What is sent.

        Raises:
            UsageError: the model was made by hand and cannot be sent.
        """
        try:
            return pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UsageError(
                f"this model cannot be sent to other processes ({error}); load it with medlsam.load, "
                "or leave out jobs and scheduler"
            ) from error

    @staticmethod
    def unpacked(packed: bytes) -> Job:
        """What was packed, in a process that has the same modules."""
        job = pickle.loads(packed)
        assert isinstance(job, Job)
        return job

    def start(self) -> tuple[Run, OutputFolder]:
        """Load all, in the process that is to work.

        Raises:
            WorkerError: another version or other weights than where the run was started.
            WeightsError: a network cannot be loaded.
        """
        check_version(self.version)
        if self.threads is not None:
            limit_threads(self.threads)
        model = load(self.model) if isinstance(self.model, InferenceOptions) else self.model
        run = Run(self.command, model, self.templates, self.options, self.work)
        run.load()
        for kind, entry in run.weights().items():
            if entry["sha256"] != self.weights[kind]:
                raise WorkerError(
                    f"{here()} has other weights of the {kind} {entry['name']} (sha256 "
                    f"{entry['sha256'][:12]}...) than where the run was started "
                    f"({self.weights[kind][:12]}...); give all workers the same file"
                )
        return run, OutputFolder(self.output, self.command, here())


def died_on(name: str, how: str) -> WorkerError:
    """What is on record of a scan that took its process with it, every time."""
    return WorkerError(
        f"the process that worked on {name} died {TRIES} times{how}; often the memory does not suffice: "
        "give fewer --jobs, or look whether the scan's file is damaged"
    )
