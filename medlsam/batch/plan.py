"""What a run is going to do: which scans, which of them are done, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medlsam.batch.output import MARKER, DoneCase, OutputFolder
from medlsam.batch.task import Run
from medlsam.io.cases import Case


@dataclass(frozen=True)
class Plan:
    """The work of a run, before anything is written.

    Attributes:
        folder: where to.
        structures: what is looked for: name to label value.
        description: the head of ``run.json``.
        shared: the run's part of a fingerprint.
        cases: all scans in their order.
        warnings: about the scans that were found.
        known: the finished cases that lie in the folder, also of other scans.
        skipped: scans that are done and unchanged.
        waiting: scan to the fingerprint of its result.
    """

    folder: OutputFolder
    structures: Mapping[str, int]
    description: dict[str, Any]
    shared: str
    cases: tuple[Case, ...]
    warnings: tuple[str, ...] = ()
    known: Mapping[str, DoneCase] = field(default_factory=dict)
    skipped: tuple[Case, ...] = ()
    waiting: Mapping[Case, str] = field(default_factory=dict)


def reasons(plan: Plan, run: Run) -> dict[str, str]:
    """Why each waiting scan is to be done, in words, by its name."""
    before = plan.folder.run_json()
    return {case.name: _reason(plan, run, case.name, before) for case in plan.waiting}


def _reason(plan: Plan, run: Run, name: str, before: Mapping[str, Any]) -> str:
    done = plan.known.get(name)
    if done is None:
        if (plan.folder.path / name / MARKER).is_file():
            return "its files are not all there"
        record = before.get("cases", {}).get(name, {})
        return "it failed before" if record.get("status") == "failed" else "new"
    if done.fingerprint == plan.waiting[_case(plan, name)]:
        return "done and unchanged; --overwrite does it again"
    if done.shared == plan.shared:
        return "what it is made from has changed: the scan's files, or what was given for it"
    try:
        known = run.shared(before) == done.shared
    except (KeyError, TypeError):  # run.json is of another version, or damaged
        known = False
    changes = _changes(before, plan.description, run) if known else []
    return f"changed: {'; '.join(changes)}" if changes else "changed: options, templates, weights or version"


def _case(plan: Plan, name: str) -> Case:
    return next(case for case in plan.waiting if case.name == name)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], run: Run) -> list[str]:
    """What two heads of ``run.json`` differ in, as far as it can change a result."""
    words = []
    if before["version"] != now["version"]:
        words.append(f"version {before['version']} -> {now['version']}")
    for name in run.result_options(now):
        old, new = before["options"].get(name), now["options"].get(name)
        if _plain(old) != _plain(new):
            words.append(f"{name} {_told(old)} -> {_told(new)}")
    if before["templates"]["sha256"] != now["templates"]["sha256"]:
        words.append("templates")
    for kind, entry in now["weights"].items():
        if before["weights"].get(kind, {}).get("sha256") != entry["sha256"]:
            words.append(f"weights of the {kind}")
    return words


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


def _told(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
