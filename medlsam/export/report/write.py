"""Gather what a run wrote, and fill the page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template
from markupsafe import Markup

from medlsam.export.report.pictures import take_pictures
from medlsam.export.report.rows import STATUSES, failure, make_rows, view_command
from medlsam.export.run_results import RunResults, read_results
from medlsam.export.views import BOX, CONVENTION, CYCLE, MASK, REFERENCE
from medlsam.runtime.atomic_files import write_text


def write_report(
    output: str | Path, references: Mapping[str, Path] | None = None, title: str = "medlsam report"
) -> Path:
    """Write ``report.html`` into a folder that ``segment`` wrote.

    Pictures are those that were made with the masks. Where there are none (an earlier version, a mask that was changed
    since), and where there is a reference to compare with, some scans are read again to be drawn; what cannot be drawn
    is listed without a picture, with the reason.

    Args:
        output: the folder, with ``run.json`` and a folder for each case.
        references: case name to a label map with the same values, drawn beside the answer.
        title: of the page.

    Returns:
        The report's path.

    Raises:
        UsageError: the folder holds no ``run.json``, or a damaged one.
    """
    results = read_results(output)
    pictures = take_pictures(results, references or {})
    rows = make_rows(results, pictures)
    located = [entry.located for case in results.cases for entry in case.entries]
    run = results.description
    page = Template(
        _part("page.html"), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    style, script = _part("page.css") + _colours(), _part("page.js")
    text = page.render(
        title=title,
        # Our own files, and nothing of the run: they stand in the page as they are, and their sums let them run.
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        run=run,
        when=str(run.get("finished") or run.get("started") or ""),
        counts={
            "scans": len(results.cases),
            "failed": sum(bool(case.error) for case in results.cases),
            "structures found": sum(structure.status == "found" for structure in located),
            "uncertain": sum(structure.status == "uncertain" for structure in located),
            "unlike the other scans": sum(e.unlike_others for case in results.cases for e in case.entries),
            "missing or out of view": sum(not structure.present for structure in located),
        },
        failures=[f"{case.name}: {failure(case)}" for case in results.cases if case.error],
        warnings=[
            *map(str, run.get("warnings", [])),
            *(f"{c.name}: {warning}" for c in results.cases for warning in c.record.get("warnings", [])),
        ],
        cases=[(number, case, failure(case)) for number, case in enumerate(results.cases, start=1)],
        rows=rows,
        statuses=[status for status in STATUSES if any(row.status == status for row in rows)],
        structures=list(dict.fromkeys([*results.values, *(row.structure for row in rows if row.structure)])),
        pictures=pictures,
        compared=any(own.reference for own in pictures.values()),
        commands={case.name: view_command(results.folder, case.name) for case in results.cases},
        colours=len(CYCLE),
        convention=CONVENTION,
        details=_details(results),
    )
    target = Path(output) / "report.html"
    write_text(target, text)
    return target


def _part(name: str) -> str:
    """A file of the page, with the line ends that a browser makes of any."""
    return files("medlsam.export.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    """The sum of an element's text, as a Content-Security-Policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _colours() -> str:
    """Rules for the signs of the legends, in the colours of the pictures."""
    named = {"mask": MASK, "box": BOX, "reference": REFERENCE} | {f"c{n}": c for n, c in enumerate(CYCLE)}
    return "".join(f".sign.{name} {{ border-color: {colour}; }}\n" for name, colour in named.items())


def _details(results: RunResults) -> dict[str, str]:
    """Everything that is needed to do it again."""
    run: Mapping[str, Any] = results.description
    rows = {"version": f"medlsam {run.get('version', '?')}"}
    for kind, weights in run.get("weights", {}).items():
        rows[kind] = f"{weights.get('name')} (sha256 {weights.get('sha256')})"
    if templates := run.get("templates"):
        rows["templates"] = f"{templates.get('source')} (sha256 {templates.get('sha256')})"
    rows |= {"device": str(run.get("device", "?")), "started": str(run.get("started", "?"))}
    rows["finished"] = str(run.get("finished") or "not yet")
    stages: dict[str, list[float]] = {}
    for case in results.cases:
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
