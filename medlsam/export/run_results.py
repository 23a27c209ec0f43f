"""The results of a run as people go through them: every structure of every scan, the most doubtful first.

What makes an answer doubtful is what the run itself wrote: its status and confidence, and a volume or a disagreement
of the templates that is unlike those of the same structure in the run's other scans. The report and the page of
``medlsam view`` list by it.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.errors import UsageError
from medlsam.io.cases import Case, case_of
from medlsam.results import Localization, LocatedStructure

#: A value so many robust standard deviations from the median of its structure is unlike the others.
UNLIKE = 3.5
# With fewer scans nobody can say what is usual.
_LEAST_SCANS = 5
# From the median absolute deviation to the standard deviation of a normal distribution.
_TO_STD = 1.4826
# Least spread, as a share of the value: equal volumes (of phantoms, say) must not make any other one infinitely
# unusual, and a few per cent more of an expected error mean nothing.
_LEAST_VOLUME, _LEAST_ERROR = 0.01, 0.1
_RANKS = {"uncertain": 0, "found": 1, "missing": 2, "out_of_view": 3}


@dataclass(frozen=True)
class Entry:
    """One structure in one scan.

    Attributes:
        structure: its name.
        located: as ``localization.json`` has it.
        statistics: its row of ``statistics.csv``; empty where there is none.
        volume_score: robust standard deviations of its volume from the median over the run; 0 where unknown.
        error_score: the same of its expected error.
    """

    structure: str
    located: LocatedStructure
    statistics: Mapping[str, str] = field(default_factory=dict)
    volume_score: float = 0.0
    error_score: float = 0.0

    @property
    def unlike_others(self) -> bool:
        """Whether there is a mask, and its volume or the templates' disagreement is unlike that of other scans."""
        return self.located.present and (abs(self.volume_score) >= UNLIKE or self.error_score >= UNLIKE)

    @property
    def reasons(self) -> list[str]:
        """Why somebody should look, in words."""
        found = [] if self.located.status == "found" else [self.located.status.replace("_", " ")]
        if abs(self.volume_score) >= UNLIKE:
            found.append(f"volume {'larger' if self.volume_score > 0 else 'smaller'} than usual")
        if self.located.present and self.error_score >= UNLIKE:
            found.append("templates disagree more than usual")
        if self.statistics.get("cut_off") == "yes":
            found.append("cut off by the scan")
        return found

    @property
    def doubt(self) -> tuple[float, ...]:
        """Sorts the most doubtful first: what is unlike other scans, then by status, confidence, expected error."""
        return (
            0.0 if self.unlike_others else 1.0,
            float(_RANKS[self.located.status]),
            self.located.confidence,
            -(self.located.expected_error_mm or 0.0),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {
            "name": self.structure,
            **self.located.to_dict(),
            "present": self.located.present,
            "reasons": self.reasons,
            "volume_score": round(self.volume_score, 2),
            "numbers": dict(self.statistics),
        }


@dataclass(frozen=True)
class ResultCase:
    """One scan of a run.

    Attributes:
        name: of the scan.
        folder: with its results.
        record: its entry in ``run.json``.
        entries: its structures, the most doubtful first; empty where it failed.
        error: why it failed, or why its results cannot be read; empty otherwise.
    """

    name: str
    folder: Path
    record: Mapping[str, Any]
    entries: tuple[Entry, ...] = ()
    error: str = ""

    @property
    def scan(self) -> Case:
        """Where the scan lies, by what the run wrote down."""
        return case_of(Path(str(self.record["image"])), str(self.record.get("first_file") or ""))

    @property
    def labels(self) -> Path:
        """Its label map."""
        return self.folder / "segmentation.nii.gz"

    @property
    def doubt(self) -> tuple[float, ...]:
        """That of its most doubtful structure; failed scans come first."""
        if self.error:
            return (-1.0,)
        return min((entry.doubt for entry in self.entries), default=(9.0,))

    def to_dict(self) -> dict[str, Any]:
        """JSON values for the page."""
        return {
            "name": self.name,
            "error": self.error,
            "warnings": list(self.record.get("warnings", [])),
            "structures": [entry.to_dict() for entry in self.entries],
        }


@dataclass(frozen=True)
class RunResults:
    """A folder that ``segment`` wrote.

    Attributes:
        folder: the folder.
        values: structure to label value.
        cases: the scans, the most doubtful first.
        description: the head of ``run.json``: version, options, weights and what else the run says of itself.
    """

    folder: Path
    values: Mapping[str, int]
    cases: tuple[ResultCase, ...]
    description: Mapping[str, Any] = field(default_factory=dict)


def read_results(folder: str | Path) -> RunResults:
    """Read what a run wrote, without its scans and masks.

    Raises:
        UsageError: no folder of ``medlsam segment``, or ``run.json`` is damaged.
    """
    folder = Path(folder)
    file = folder / "run.json"
    if not file.is_file():
        raise UsageError(f"{folder}: holds no run.json; give a folder that `medlsam segment` wrote")
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        records = dict(run["cases"])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: cannot be read ({error}); run `medlsam segment` again") from error
    rows = _statistics(folder / "statistics.csv")
    cases = _judged([_case(folder, name, record, rows.get(name, {})) for name, record in records.items()])
    description = {key: value for key, value in run.items() if key != "cases"}
    ordered = tuple(sorted(cases, key=lambda case: (case.doubt, case.name)))
    return RunResults(folder, _values(folder), ordered, description)


def volume_scores(
    rows: Mapping[str, Mapping[str, Mapping[str, str]]],
) -> dict[tuple[str, str], float]:
    """Say how far each volume is from the usual one of its structure, in robust standard deviations.

    Volumes are compared by their logarithm: twice as large is as unusual as half as large. Structures that the scan
    cuts off neither count nor are judged, and nobody is judged where fewer than five scans have the structure.

    Args:
        rows: scan to structure to its row of ``statistics.csv``.

    Returns:
        (scan, structure) to the score.
    """
    volumes = {
        (case, structure): float(row.get("volume_ml") or 0)
        for case, own in rows.items()
        for structure, row in own.items()
        if row.get("cut_off") != "yes"
    }
    return _scores(volumes, _LEAST_VOLUME)


def _scores(values: Mapping[tuple[str, str], float], least: float) -> dict[tuple[str, str], float]:
    """Score positive values, (scan, structure) to value, among those of the same structure.

    Args:
        values: what is to be compared; those of 0 and below are left out.
        least: spread that is assumed at least, as a share of the value.
    """
    by_structure: dict[str, dict[str, float]] = defaultdict(dict)
    for (case, structure), value in values.items():
        if value > 0:
            by_structure[structure][case] = float(np.log(value))
    scores: dict[tuple[str, str], float] = {}
    for structure, logs in by_structure.items():
        if len(logs) < _LEAST_SCANS:
            continue
        middle = float(np.median(list(logs.values())))
        spread = max(_TO_STD * float(np.median([abs(value - middle) for value in logs.values()])), least)
        scores |= {(case, structure): (value - middle) / spread for case, value in logs.items()}
    return scores


def _judged(cases: Sequence[ResultCase]) -> list[ResultCase]:
    """Compare every structure with the same one in the other scans, and sort each scan's by doubt."""
    volumes = volume_scores({case.name: {e.structure: e.statistics for e in case.entries} for case in cases})
    errors = _scores(
        {
            (case.name, entry.structure): entry.located.expected_error_mm or 0.0
            for case in cases
            for entry in case.entries
            if entry.located.present
        },
        _LEAST_ERROR,
    )
    judged = []
    for case in cases:
        entries = [
            replace(
                entry,
                volume_score=volumes.get((case.name, entry.structure), 0.0),
                error_score=errors.get((case.name, entry.structure), 0.0),
            )
            for entry in case.entries
        ]
        judged.append(replace(case, entries=tuple(sorted(entries, key=lambda entry: entry.doubt))))
    return judged


def _statistics(file: Path) -> dict[str, dict[str, Mapping[str, str]]]:
    rows: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as opened:
            for row in csv.DictReader(opened):
                rows[row["case"]][row["organ"]] = row
    return rows


def _values(folder: Path) -> dict[str, int]:
    file = folder / "labels.json"
    table = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {str(name): int(value) for value, name in table.items()}


def _case(
    folder: Path,
    name: str,
    record: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, str]],
) -> ResultCase:
    """Read one scan's answers; a damaged file costs this scan only."""
    own = folder / name
    if record.get("status") == "failed":
        error = record.get("error") or {}
        return ResultCase(name, own, record, error=str(error.get("text", "failed")))
    try:
        located = Localization.from_dict(json.loads((own / "localization.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        return ResultCase(name, own, record, error=f"localization.json cannot be read: {error}")
    entries = [
        Entry(structure, answer, rows.get(structure, {})) for structure, answer in located.structures.items()
    ]
    return ResultCase(name, own, record, tuple(entries))


def chosen(cases: Sequence[ResultCase], index: int) -> ResultCase:
    """Take a case by its place in the list.

    Raises:
        UsageError: there is none.
    """
    if not 0 <= index < len(cases):
        raise UsageError(f"there is no scan {index}; the list has {len(cases)}")
    return cases[index]
