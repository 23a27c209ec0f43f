"""What a run would do, without doing it: for ``--dry-run``. Nothing is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from medlsam.batch.output import NEEDED_FILES, RUN_FILE, SUMMARY_FILES
from medlsam.batch.plan import Plan, reasons
from medlsam.batch.task import Run
from medlsam.errors import UsageError
from medlsam.export.formats import FORMATS, OUTPUT_FOLDER
from medlsam.export.slicer_markups import MARKUPS_FILES
from medlsam.export.thumbnails.file import THUMBNAILS_FILE
from medlsam.options import InferenceOptions
from medlsam.weights import ENTRIES, state


@dataclass(frozen=True)
class ForeseenScan:
    """What a run would do with a scan.

    Attributes:
        name: what its results are called.
        path: where it lies.
        action: ``do`` or ``skip``.
        why: in words.
    """

    name: str
    path: str
    action: Literal["do", "skip"]
    why: str


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        command: ``segment`` or ``localize``.
        output: the folder.
        scans: in their order.
        structures: what is looked for: name to label value.
        weights: network to name, sha256, and ``present`` (False: the run downloads it first).
        options: those that are not at their default.
        files: that each scan and the run as a whole may get; ``<case>`` stands for the scan's name.
        device: where the networks run.
        warnings: about the scans that were found.
    """

    command: str
    output: Path
    scans: tuple[ForeseenScan, ...]
    structures: Mapping[str, int]
    weights: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]
    files: tuple[str, ...]
    device: str
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for ``--json``."""
        return {"dry_run": True} | asdict(self) | {"output": str(self.output), "exit_code": 0}


def foresee(plan: Plan, run: Run, whole: bool = True, layout: str = "cases") -> DryRun:
    """Say what a run would do.

    Args:
        plan: from ``plan_run``.
        run: the run that it is of.
        whole: False for one of several shards, which writes no report.
        layout: see ``segment_folder``.

    Raises:
        UsageError: the output folder cannot be written to.
    """
    _check_writable(plan.folder.path)
    why = reasons(plan, run)
    scans = []
    for case in plan.cases:
        words = why.get(case.name, "done before and unchanged")
        scans.append(ForeseenScan(case.name, str(case.path), "do" if case.name in why else "skip", words))
    defaults = InferenceOptions().to_dict()
    chosen = {name: value for name, value in run.options.to_dict().items() if value != defaults[name]}
    weights = {
        kind: dict(entry) | {"present": _present(entry["name"])} for kind, entry in run.weights().items()
    }
    return DryRun(
        command=run.command,
        output=plan.folder.path,
        scans=tuple(scans),
        structures=dict(plan.structures),
        weights=weights,
        options=chosen,
        files=_files(run, whole, layout),
        device=str(run.model.device),
        warnings=tuple(plan.warnings),
    )


def _files(run: Run, whole: bool, layout: str) -> tuple[str, ...]:
    """Names of what is written where something is found; ``whole`` is False for a shard."""
    if run.command == "localize":
        names = [*NEEDED_FILES["localize"], *MARKUPS_FILES]
        return (*(f"<case>/{name}" for name in names), RUN_FILE)
    output = run.options.output
    names = [name for kind in output.format for name in FORMATS[kind].files]
    names += ["localization.json", THUMBNAILS_FILE]
    names += [f"{OUTPUT_FOLDER}/<structure>.nii.gz"] if output.per_structure else []
    common = [name for name in SUMMARY_FILES if whole or name != "report.html"]
    return (
        *(f"<case>/{name}" for name in names),
        *common,
        RUN_FILE,
        *(["nnUNet_raw/"] if whole and layout == "nnunet" else []),
    )


def _present(name: str) -> bool:
    entry = ENTRIES.get(name)
    return entry is None or state(entry) != "absent"


def _check_writable(folder: Path) -> None:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: cannot be used for the output (Permission denied at {place})")
