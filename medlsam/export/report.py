"""The one-file HTML report of an output folder: opens offline, loads nothing, runs no script.

It reads what ``segment`` wrote and nothing else, so it can be written again at any time.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from medlsam.errors import MedlsamError, UsageError
from medlsam.export.figures import draw_localization, draw_organ, png
from medlsam.export.planes import CONVENTION
from medlsam.export.scene import Scene, scene
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.results import Localization, LocatedOrgan
from medlsam.runtime.atomic_files import write_text

#: Scans whose structures are drawn; the doubtful ones first. More would make a page of 100 MB.
MOST_CASES_DRAWN = 12
# Pixels per inch: sharp on a phone and on a page of two columns, at a third of a megabyte for two structures.
_DPI = 80.0
# A sign beside the colour, for those who do not see the colour.
_SIGNS = {"found": "✓", "uncertain": "?", "missing": "✕", "out_of_view": "↕", "failed": "!"}


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
    def doubt(self) -> float:
        """The lowest confidence of a structure that has a mask."""
        located = self.localization.organs.values() if self.localization else ()
        return min((organ.confidence for organ in located if organ.present), default=1.0)


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
    sections = []
    for case in cases:
        reference = (references or {}).get(case.name)
        with_pictures = case.name in chosen
        sections.append(_case_section(output, case, names, reference, with_pictures, opened=len(cases) <= 3))
    note = CONVENTION + " Slices go through the middle of each structure, in a soft-tissue window."
    if len(drawn) > len(chosen):
        note += f" Drawn are {len(chosen)} of {len(drawn)} scans, those with the least confidence."
    when = str(run.get("finished") or run.get("started") or "").replace("T", " ").replace("+00:00", " UTC")
    page = Template(files("medlsam.export").joinpath("report.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(f"medlsam {run.get('version', '?')}, {when}"),
        figures=_figures(cases),
        notes=_notes(run, cases),
        overview=_overview(cases, list(names.values())),
        picture_note=escape(note),
        cases="\n".join(sections),
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


def _figures(cases: Sequence[_Case]) -> str:
    """The few numbers on top."""
    located = [organ for case in cases if case.localization for organ in case.localization.organs.values()]
    counts = {
        "scans": len(cases),
        "failed": sum(case.failed for case in cases),
        "structures found": sum(organ.status == "found" for organ in located),
        "uncertain": sum(organ.status == "uncertain" for organ in located),
        "missing or out of view": sum(not organ.present for organ in located),
    }
    return "".join(f"<li><b>{count}</b>{what}</li>" for what, count in counts.items())


def _notes(run: Mapping[str, Any], cases: Iterable[_Case]) -> str:
    cases = list(cases)
    failures = [f"{case.name}: {_error(case.record)}" for case in cases if case.failed]
    warnings = [str(warning) for warning in run.get("warnings", [])]
    warnings += [f"{case.name}: {warning}" for case in cases for warning in case.record.get("warnings", [])]
    return _note("Failed", failures, "notes bad") + _note("Warnings", warnings, "notes")


def _note(head: str, lines: Sequence[str], kind: str) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="{kind}"><h3>{head} ({len(lines)})</h3><ul>{items}</ul></section>'


def _error(record: Mapping[str, Any]) -> str:
    error = record.get("error")
    return f"{error.get('type')}: {error.get('text')}" if isinstance(error, Mapping) else str(error)


def _chip(status: str, confidence: float | None = None) -> str:
    number = "" if confidence is None else f" {confidence:.2f}"
    words = escape(status.replace("_", " "))
    return f'<span class="chip {escape(status)}">{_SIGNS.get(status, "")} {words}{number}</span>'


def _overview(cases: Sequence[_Case], names: Sequence[str]) -> str:
    """Case x organ; the longer side runs down the page, so that a phone can show it."""
    cells = {(case.name, name): _cell(case, name) for case in cases for name in names}
    if len(names) > len(cases):
        heads = [case.name for case in cases]
        rows = [(name, [cells[case.name, name] for case in cases]) for name in names]
    else:
        heads = list(names)
        rows = [(case.name, [cells[case.name, name] for name in names]) for case in cases]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    corner = "structure" if len(names) > len(cases) else "scan"
    body = "".join(
        f'<tr><th scope="row">{escape(text)}</th>{"".join(f"<td>{cell}</td>" for cell in row)}</tr>'
        for text, row in rows
    )
    return f'<table><thead><tr><th scope="col">{corner}</th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(case: _Case, name: str) -> str:
    if case.failed:
        return _chip("failed")
    organ = case.localization.organs.get(name) if case.localization else None
    if organ is None:
        return "–"
    volume = _volume(case.statistics.get(name))
    return _chip(organ.status, organ.confidence) + (f"<small>{escape(volume)}</small>" if volume else "")


def _volume(row: Mapping[str, str] | None) -> str:
    if not row or not row.get("volume_ml") or float(row["volume_ml"]) == 0:
        return ""
    return ("at least " if row.get("cut_off") == "yes" else "") + f"{float(row['volume_ml']):.1f} ml"


def _case_section(
    output: Path,
    case: _Case,
    names: Mapping[int, str],
    reference: Path | None,
    with_pictures: bool,
    opened: bool,
) -> str:
    if case.failed or case.localization is None:
        status, body = _chip("failed"), f"<p>{escape(_error(case.record))}</p>"
    else:
        organs = list(case.localization.organs.values())
        found = sum(organ.present for organ in organs)
        status = f'<span class="soft">{found} of {len(organs)} structures</span>'
        body = _pictures(output, case, names, reference) if with_pictures else "<p>Not drawn.</p>"
    seconds = sum(case.record.get("seconds", {}).values())
    return (
        f"<details{' open' if opened and with_pictures else ''}><summary>{escape(case.name)} {status}"
        f' <span class="soft">{seconds:.1f} s</span></summary>'
        f'<p class="soft">{escape(str(case.record.get("image", "")))}</p>{body}</details>'
    )


def _pictures(output: Path, case: _Case, names: Mapping[int, str], reference: Path | None) -> str:
    """The boxes on the scan, then one picture per structure."""
    assert case.localization is not None
    try:
        image = read_image(Path(str(case.record["image"])))
        labels = read_label_map(output / case.name / "segmentation.nii.gz")
        truth = read_label_map(reference) if reference is not None else None
        drawn = scene(image, labels, names, truth)
    except (MedlsamError, OSError, KeyError) as error:
        # The scan may have been moved since; the numbers are still right.
        return f"<p>No pictures: {escape(str(error))}</p>"
    where = _image(
        png(draw_localization(case.localization, drawn.image), _DPI),
        f"located boxes in {case.name}, frontal and lateral",
    )
    figures = "".join(_organ_figure(case, organ, drawn) for organ in case.localization.organs.values())
    return f'<figure class="where">{where}</figure><div class="organs">{figures}</div>'


def _organ_figure(case: _Case, organ: LocatedOrgan, drawn: Scene) -> str:
    row = case.statistics.get(organ.name, {})
    facts = [_volume(row)]
    if organ.expected_error_mm is not None:
        facts.append(f"expected error of a face {organ.expected_error_mm:.1f} mm")
    if row.get("mean_hu"):
        facts.append(f"{float(row['mean_hu']):.0f} ± {float(row.get('std_hu') or 0):.0f} HU")
    caption = (
        f"<h3>{escape(organ.name)}</h3>{_chip(organ.status, organ.confidence)}"
        f'<span class="soft">{escape(", ".join(fact for fact in facts if fact))}</span>'
    )
    picture = ""
    if organ.present:
        alt = f"{organ.name} in {case.name}: axial, coronal and sagittal slice with mask and box"
        picture = _image(png(draw_organ(drawn, organ, title=f"{organ.name}   {case.name}"), _DPI), alt)
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _image(content: bytes, alt: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img loading="lazy" alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def _details(run: Mapping[str, Any], cases: Sequence[_Case]) -> str:
    """Everything that is needed to do it again."""
    rows: list[tuple[str, str]] = [("version", f"medlsam {run.get('version', '?')}")]
    for kind, weights in run.get("weights", {}).items():
        rows.append((kind, f"{weights.get('name')} (sha256 {weights.get('sha256')})"))
    templates = run.get("templates", {})
    if templates:
        rows.append(("templates", f"{templates.get('source')} (sha256 {templates.get('sha256')})"))
    rows += [("device", str(run.get("device", "?"))), ("started", str(run.get("started", "?")))]
    rows.append(("finished", str(run.get("finished") or "not yet")))
    stages: dict[str, list[float]] = {}
    for case in cases:
        for stage, seconds in case.record.get("seconds", {}).items():
            stages.setdefault(stage, []).append(float(seconds))
    if stages:
        means = ", ".join(f"{stage} {sum(s) / len(s):.2f}" for stage, s in stages.items())
        rows.append(("seconds per scan", f"{means} (mean over {max(map(len, stages.values()))} scans)"))
    options = {k: v for k, v in run.get("options", {}).items() if v is not None}
    rows += [
        (key.replace("_", " "), _plain(value)) for key, value in options.items() if key not in dict(rows)
    ]
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows) + "</dl>"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
