"""The pictures of a report: those that were made with the masks; where there are none, drawn from the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medlsam.errors import MedlsamError
from medlsam.export.run_results import ResultCase, RunResults
from medlsam.export.thumbnails.file import Thumbnails, draw_thumbnails, read_thumbnails
from medlsam.io.cases import read_case
from medlsam.io.labels import read_label_map
from medlsam.results import Localization

#: Scans that are read again to be drawn, the most doubtful first: each takes a second or more.
MOST_CASES_DRAWN = 12


@dataclass(frozen=True, eq=False)
class CasePictures:
    """The pictures of one scan.

    Attributes:
        thumbnails: what there is; empty where there is none.
        problem: why there are no pictures, or why the reference is not in them; empty where all is well.
        reference: whether the reference is drawn.
    """

    thumbnails: Thumbnails = field(default_factory=Thumbnails)
    problem: str = ""
    reference: bool = False


def take_pictures(results: RunResults, references: Mapping[str, Path]) -> dict[str, CasePictures]:
    """Take the pictures of every scan that has results, by its name.

    Args:
        results: of the run.
        references: case name to a label map with the same values, drawn beside the answer.
    """
    found: dict[str, CasePictures] = {}
    drawn = 0
    for case in results.cases:
        if case.error:
            continue
        reference = references.get(case.name)
        pictures = _stored(case)
        if reference is not None or pictures.problem:
            if drawn < MOST_CASES_DRAWN:
                pictures, success = _drawn(results, case, reference, pictures)
                drawn += success
            else:
                limit = f"at most {MOST_CASES_DRAWN} scans are read again to be drawn; --overwrite draws all"
                what = f"{pictures.problem}; " if pictures.problem else "the reference is not drawn: "
                pictures = CasePictures(pictures.thumbnails, what + limit)
        found[case.name] = pictures
    return found


def _stored(case: ResultCase) -> CasePictures:
    try:
        return CasePictures(read_thumbnails(case.folder))
    except MedlsamError as error:
        return CasePictures(problem=str(error))


def _drawn(
    results: RunResults, case: ResultCase, reference: Path | None, stored: CasePictures
) -> tuple[CasePictures, bool]:
    """Draw a scan anew; the numbers are right without, so whatever cannot be read is told and no failure."""
    try:
        localization = Localization(case.name, {entry.structure: entry.located for entry in case.entries})
        made = draw_thumbnails(
            read_case(case.scan),
            read_label_map(case.labels),
            results.values,
            localization,
            search=True,
            reference=None if reference is None else read_label_map(reference),
        )
    except (MedlsamError, OSError, KeyError) as error:
        # The scan may have been moved since.
        what = "the reference is not drawn" if not stored.problem else stored.problem
        return CasePictures(stored.thumbnails, f"{what}; the scan cannot be drawn: {error}"), False
    return CasePictures(made, reference=reference is not None), True
