"""The lines of a report's table: every structure in every scan, the most doubtful first."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medlsam.export.report.pictures import CasePictures
from medlsam.export.run_results import Entry, ResultCase, RunResults
from medlsam.export.thumbnails.file import Drawn

#: In the order in which somebody should look.
STATUSES = ("failed", "uncertain", "found", "missing", "out_of_view")


@dataclass(frozen=True, eq=False)
class Row:
    """A structure in a scan, or a scan that failed.

    Attributes:
        scan: its name.
        number: of the scan in the list of scans, from 1.
        command: looks at it in the local page.
        status: of the structure; ``failed`` for a scan without results.
        structure: its name; empty for a failed scan.
        confidence: 0 to 1.
        error_mm: expected error of a face.
        volume_ml: of the mask.
        cut_off: whether the scan cuts the structure off.
        score: robust standard deviations of the volume from that in the run's other scans.
        hu: mean and standard deviation in the mask.
        reasons: why somebody should look, in words.
        picture: three planes; None where there is none.
        why: no picture is there, or what went wrong.
    """

    scan: str
    number: int
    command: str
    status: str
    structure: str = ""
    confidence: float | None = None
    error_mm: float | None = None
    volume_ml: float | None = None
    cut_off: bool = False
    score: float | None = None
    hu: tuple[float, float] | None = None
    reasons: Sequence[str] = ()
    picture: Drawn | None = None
    why: str = ""

    @property
    def rank(self) -> int:
        """By which the status is sorted."""
        return STATUSES.index(self.status)


def make_rows(results: RunResults, pictures: Mapping[str, CasePictures]) -> list[Row]:
    """Make the table, the most doubtful line first, whichever scan it is of."""
    # With too few scans, nobody can say what is usual.
    judged = {entry.structure for case in results.cases for entry in case.entries if entry.volume_score}
    failed, answered = [], []
    for number, case in enumerate(results.cases, start=1):
        command = view_command(results.folder, case.name)
        if case.error or not case.entries:
            why = failure(case) if case.error else "no structure was looked for"
            failed.append(Row(case.name, number, command, "failed" if case.error else "missing", why=why))
        for entry in case.entries:
            row = _row(case, entry, number, command, pictures[case.name], judged)
            answered.append((entry.doubt, case.name, entry.structure, row))
    return failed + [row for *_, row in sorted(answered, key=lambda line: line[:-1])]


def view_command(folder: Path, case: str) -> str:
    """Say how to look at a scan in the local page; quoted for a shell."""
    return shlex.join(["medlsam", "view", str(folder.absolute()), f"--case={case}"])


def failure(case: ResultCase) -> str:
    """Say why a scan has no results."""
    error = case.record.get("error")
    kind = error.get("type") if isinstance(error, Mapping) else None
    return f"{kind}: {case.error}" if kind else case.error


def _row(
    case: ResultCase, entry: Entry, number: int, command: str, pictures: CasePictures, judged: set[str]
) -> Row:
    located, row = entry.located, entry.statistics
    volume = _number(row.get("volume_ml"))
    mean, std = _number(row.get("mean_hu")), _number(row.get("std_hu"))
    picture = pictures.thumbnails.structures.get(entry.structure)
    why = ""
    if picture is None and located.present:
        why = pictures.problem or "no voxel was segmented in its box"
    cut_off = row.get("cut_off") == "yes"
    return Row(
        scan=case.name,
        number=number,
        command=command,
        status=located.status,
        structure=entry.structure,
        confidence=located.confidence,
        error_mm=located.expected_error_mm,
        volume_ml=volume or None,
        cut_off=cut_off,
        score=entry.volume_score if volume and not cut_off and entry.structure in judged else None,
        hu=None if mean is None else (mean, std or 0.0),
        # The status stands beside it already.
        reasons=[reason for reason in entry.reasons if reason != located.status.replace("_", " ")],
        picture=picture,
        why=why,
    )


def _number(text: str | None) -> float | None:
    return float(text) if text else None
