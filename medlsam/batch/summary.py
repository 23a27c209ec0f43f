"""The state of a run over many scans: reported while it goes on, written to its files, and returned at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from medlsam.batch.one_scan import Outcome
from medlsam.batch.output import RUN_FILE, CaseRecord, DoneCase, OutputFolder
from medlsam.measure.statistics import write_statistics
from medlsam.runtime.atomic_files import write_json

#: How the warning begins that these files could not be written.
_UNWRITTEN = "run.json and statistics.csv could not be written in"
Status = Literal["running", "done", "skipped", "failed"]


@dataclass(frozen=True)
class Progress:
    """Where a run is: reported before and after each scan.

    Attributes:
        case: the scan's name.
        status: ``running``, then ``done`` or ``failed``; or ``skipped`` alone.
        finished: number of scans that have ended.
        total: number of scans of this run.
        error: of a scan that failed.
        record: of a scan that has ended, its entry in ``run.json``: seconds per stage, warnings.
        folder: of a scan that is done, where its files are.
    """

    case: str
    status: Status
    finished: int
    total: int
    error: str | None = None
    record: CaseRecord | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class BatchResult:
    """What a run over many scans did.

    Attributes:
        output: the folder.
        done: scans that were worked on now.
        skipped: scans that an earlier run had done, unchanged since.
        failed: scan to its error.
        warnings: about the run as a whole.
    """

    output: Path
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where all scans are done, 1 where some failed."""
        return 1 if self.failed else 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values, for ``--json``."""
        return asdict(self) | {
            "output": str(self.output),
            "done": list(self.done),
            "skipped": list(self.skipped),
            "warnings": list(self.warnings),
            "exit_code": self.exit_code,
        }


def error_line(record: CaseRecord) -> str:
    """The error of a scan that failed, in one line."""
    return f"{record.error['type']}: {record.error['text']}" if record.error else ""


class RunSummary:
    """Collects the scans' records and writes them.

    Args:
        folder: where to.
        description: the head of ``run.json``.
        cases: names of this run's scans.
        known: the finished cases that lay in the folder before.
        shared: the run's part of a fingerprint.

    Attributes:
        done: scans that are finished, by this run or before.
        failed: scans of this run that went wrong.
        warnings: about the run as a whole.
    """

    def __init__(
        self,
        folder: OutputFolder,
        description: Mapping[str, Any],
        cases: Sequence[str],
        known: Mapping[str, DoneCase],
        shared: str,
    ) -> None:
        self.folder = folder
        self.description = dict(description) | {"started": _now(), "finished": None}
        self.cases = tuple(cases)
        self.done: dict[str, DoneCase] = {}
        self.failed: dict[str, CaseRecord] = {}
        self.warnings: list[str] = []
        self.written = time.monotonic()
        others = {name: d for name, d in known.items() if name not in self.cases}
        # Of earlier runs over other scans: on the list as long as they were made in the same way.
        self.others = {name: done for name, done in others.items() if done.shared == shared}
        strange = sorted(set(others) - set(self.others))
        if strange:
            self.warnings.append(
                f"{len(strange)} cases in this folder were made with other options, templates or weights "
                f"and are not listed: {', '.join(strange[:5])}{', ...' if len(strange) > 5 else ''}"
            )

    def add(self, outcome: Outcome) -> str | None:
        """Take a scan's outcome; returns its error, or None."""
        if outcome.done is not None:
            self.done[outcome.case] = outcome.done
            return None
        self.failed[outcome.case] = outcome.record
        return error_line(outcome.record)

    def progress(self, case: str, status: Status, error: str | None = None) -> Progress:
        """The report on a scan, now."""
        finished = len(self.done) + len(self.failed)
        done = self.done.get(case)
        record = done.record if done else self.failed.get(case)
        folder = self.folder.path / case if done else None
        return Progress(case, status, finished, len(self.cases), error, record, folder)

    def write(self, at_most_every: float = 0.0) -> None:
        """Write both files, unless that was done less than so many seconds ago.

        Where they cannot be written, a warning says so and the run goes on: each scan's own files are what counts.
        """
        if at_most_every and time.monotonic() - self.written < at_most_every:
            return
        self.written = time.monotonic()
        self.warnings[:] = [words for words in self.warnings if not words.startswith(_UNWRITTEN)]
        try:
            self._write()
        except OSError as error:
            self.warnings.append(
                f"{_UNWRITTEN} {self.folder.path} ({error.strerror or error}); make room and give the same command "
                "again: what is done stays, and is put on record then"
            )

    def _write(self) -> None:
        if len(self.done) + len(self.failed) == len(self.cases):
            self.description["finished"] = _now()
        known = self.others | self.done
        records = {name: done.record for name, done in known.items()} | self.failed
        cases = {name: records[name].to_dict() for name in sorted(records)}
        if self.folder.command == "segment":
            rows = [row for name in sorted(known) for row in known[name].statistics]
            write_statistics(rows, self.folder.path / "statistics.csv")
        content = self.description | {"warnings": self.warnings, "cases": cases}
        write_json(self.folder.path / RUN_FILE, content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
