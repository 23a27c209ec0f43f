"""The one-file HTML report of an output folder: opens offline, loads nothing, runs no script.

It reads what ``segment`` wrote and nothing else, so it can be written again at any time. The values are gathered
here; how they are laid out on the page, with every loop and condition, is in ``report.html``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template

from medlsam.errors import MedlsamError, UsageError
from medlsam.export.figures import data_uri, draw_localization, draw_structure, scene
from medlsam.export.planes import CONVENTION
from medlsam.io.cases import case_of, read_case
from medlsam.io.labels import read_label_map
from medlsam.results import Localization, LocatedStructure
from medlsam.runtime.atomic_files import write_text

#: Scans whose structures are drawn; the doubtful ones first. More would make a page of 100 MB.
MOST_CASES_DRAWN = 12
# Pixels per inch: sharp on a phone and on a page of two columns, at a third of a megabyte for two structures.
_DPI = 80.0


@dataclass(frozen=True)
class _Case:
    """One scan of the folder: its entry in run.json, its located structures, its rows of statistics.csv."""

    name: str
    record: Mapping[str, Any]
    localization: Localization | None
    statistics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.record.get("status") == "failed"

    @property
    def error(self) -> str:
        error = self.record.get("error")
        return f"{error.get('type')}: {error.get('text')}" if isinstance(error, Mapping) else str(error)

    @property
    def structures(self) -> Mapping[str, LocatedStructure]:
        return self.localization.structures if self.localization else {}

    @property
    def doubt(self) -> float:
        """The lowest confidence of a structure that has a mask."""
        return min(
            (structure.confidence for structure in self.structures.values() if structure.present), default=1.0
        )

    def volume(self, name: str) -> str:
        """A structure's volume in words; empty where it has none."""
        row = self.statistics.get(name, {})
        volume = float(row.get("volume_ml") or 0)
        return f"{'at least ' if row.get('cut_off') == 'yes' else ''}{volume:.1f} ml" if volume else ""

    def facts(self, structure: LocatedStructure) -> list[str]:
        """What is written below a structure's picture."""
        row, facts = self.statistics.get(structure.name, {}), [self.volume(structure.name)]
        if structure.expected_error_mm is not None:
            facts.append(f"expected error of a face {structure.expected_error_mm:.1f} mm")
        if row.get("mean_hu"):
            facts.append(f"{float(row['mean_hu']):.0f} ± {float(row.get('std_hu') or 0):.0f} HU")
        return [fact for fact in facts if fact]


@dataclass(frozen=True)
class _Pictures:
    """The pictures of one scan as data URIs: its boxes, and each structure that is there; or why there are none."""

    boxes: str = ""
    structures: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


def write_report(
    output: str | Path, references: Mapping[str, Path] | None = None, title: str = "medlsam report"
) -> Path:
    """Write ``report.html`` into a folder that ``segment`` wrote.

    Scans that cannot be read any more are listed without pictures.

    Args:
        output: the folder, with ``run.json`` and a folder for each case.
        references: case name to a label map with the same values, drawn beside the answer.
        title: of the page.

    Returns:
        The report's path.

    Raises:
        UsageError: the folder holds no ``run.json``.
    """
    output = Path(output)
    if not (output / "run.json").is_file():
        raise UsageError(f"{output}: holds no run.json; give a folder that `medlsam segment` wrote")
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    names = _names(output)
    cases = _cases(output, run)
    drawn = sorted((c for c in cases if c.localization and not c.failed), key=lambda c: (c.doubt, c.name))
    chosen = {case.name for case in drawn[:MOST_CASES_DRAWN]}
    pictures = {
        case.name: _pictures(output, case, names, (references or {}).get(case.name))
        for case in cases
        if case.name in chosen
    }
    located = [structure for case in cases for structure in case.structures.values()]
    warnings = [str(warning) for warning in run.get("warnings", [])]
    page = Template(
        files("medlsam.export").joinpath("report.html").read_text(encoding="utf-8"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    ).render(
        title=title,
        run=run,
        when=str(run.get("finished") or run.get("started") or ""),
        counts={
            "scans": len(cases),
            "failed": sum(case.failed for case in cases),
            "structures found": sum(structure.status == "found" for structure in located),
            "uncertain": sum(structure.status == "uncertain" for structure in located),
            "missing or out of view": sum(not structure.present for structure in located),
        },
        failures=[f"{case.name}: {case.error}" for case in cases if case.failed],
        warnings=warnings
        + [f"{c.name}: {warning}" for c in cases for warning in c.record.get("warnings", [])],
        cases=cases,
        names=list(names.values()),
        pictures=pictures,
        drawable=len(drawn),
        convention=CONVENTION,
        details=_details(run, cases),
    )
    target = output / "report.html"
    write_text(target, page)
    return target


def _names(output: Path) -> dict[int, str]:
    """Label value to structure, from ``labels.json``."""
    path = output / "labels.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {int(value): str(name) for value, name in entries.items()}


def _cases(output: Path, run: Mapping[str, Any]) -> list[_Case]:
    rows: dict[str, dict[str, Mapping[str, str]]] = {}
    if (output / "statistics.csv").is_file():
        with (output / "statistics.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["case"], {})[row["organ"]] = row
    cases = []
    for name, record in run.get("cases", {}).items():
        path = output / name / "localization.json"
        found = None
        if path.is_file() and record.get("status") != "failed":
            found = Localization.from_dict(json.loads(path.read_text(encoding="utf-8")))
        cases.append(_Case(name, record, found, rows.get(name, {})))
    return cases


def _pictures(output: Path, case: _Case, names: Mapping[int, str], reference: Path | None) -> _Pictures:
    """The boxes on the scan, and three planes through each structure that is there."""
    assert case.localization is not None
    try:
        image = read_case(case_of(Path(str(case.record["image"])), str(case.record.get("first_file") or "")))
        labels = read_label_map(output / case.name / "segmentation.nii.gz")
        truth = read_label_map(reference) if reference is not None else None
        drawn = scene(image, labels, names, truth)
    except (MedlsamError, OSError, KeyError) as error:
        # The scan may have been moved since; the numbers are still right.
        return _Pictures(error=str(error))
    return _Pictures(
        data_uri(draw_localization(case.localization, drawn.image), _DPI),
        {
            name: data_uri(draw_structure(drawn, structure, title=f"{name}   {case.name}"), _DPI)
            for name, structure in case.structures.items()
            if structure.present
        },
    )


def _details(run: Mapping[str, Any], cases: Sequence[_Case]) -> dict[str, str]:
    """Everything that is needed to do it again."""
    rows = {"version": f"medlsam {run.get('version', '?')}"}
    for kind, weights in run.get("weights", {}).items():
        rows[kind] = f"{weights.get('name')} (sha256 {weights.get('sha256')})"
    if templates := run.get("templates"):
        rows["templates"] = f"{templates.get('source')} (sha256 {templates.get('sha256')})"
    rows |= {"device": str(run.get("device", "?")), "started": str(run.get("started", "?"))}
    rows["finished"] = str(run.get("finished") or "not yet")
    stages: dict[str, list[float]] = {}
    for case in cases:
        for stage, seconds in case.record.get("seconds", {}).items():
            stages.setdefault(stage, []).append(float(seconds))
    if stages:
        means = ", ".join(f"{stage} {sum(s) / len(s):.2f}" for stage, s in stages.items())
        rows["seconds per scan"] = f"{means} (mean over {max(map(len, stages.values()))} scans)"
    for key, value in run.get("options", {}).items():
        if value is not None and key not in rows:
            rows[key.replace("_", " ")] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    return rows
