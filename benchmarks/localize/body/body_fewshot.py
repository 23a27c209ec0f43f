"""Abdominal organs with few templates: boxes, faces, statuses and margins on patients with reference labels.

    python benchmarks/localize/body/body_fewshot.py [--draws 4] [--choose] [--dice] [--json FILE]

On `bodyval/` (kidneys, spleen, liver; labelled only where they lie whole in the scan). Queries: three patients that
no training may see, with all six template patients. Leave-one-patient-out over all nine: each scan with all others, and
each structure with draws of 1, 2 and 4 of the others that have it; a set of one template is not calibrated. Of
structures that a scan cuts off only the status counts. Phases: patients of `body2/` with several contrast phases, boxes
by the labels of one phase, and places of one phase looked for in the other. With `--dice` masks as well, as `medlsam
evaluate` scores them.

With `--choose` only leave-one-patient-out among the six template patients: choices are made on those, never on the
queries. Every scan is embedded once (with `--dice` once more). Takes about three minutes on one
core, `--choose` one, `--dice` some more.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

import medlsam
from benchmarks.common import SeenOnce, answer, command, options, progress
from benchmarks.localize.body.cases import Finding, Patient, ask, leave_one_out, read_patients
from benchmarks.localize.body.phases import phase_boxes
from benchmarks.localize.body.tables import (
    answers_table,
    box_figures,
    boxes_table,
    dice_table,
    phase_tables,
    reliability,
    status_table,
)
from medlsam.evaluation.run import evaluate
from medlsam.io.cases import Case
from medlsam.localize.build_templates import build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.pipeline.model import MedLSAM

COUNTS = (1, 2, 4)


def by_way(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Answers by the trial that they belong to, few templates first."""
    ways = [*map(str, COUNTS), "all"]
    return {way: [f for f in findings if f.way == way] for way in ways if any(f.way == way for f in findings)}


def figures(groups: dict[str, list[Finding]]) -> dict[str, Any]:
    """What the tables show, for the JSON file."""
    return {way: {"boxes": box_figures(own), **reliability(own)} for way, own in groups.items()}


def masks(model: MedLSAM, templates: TemplateSet, patients: Sequence[Patient]) -> list[dict[str, str]]:
    """The lines of ``cases.csv`` of some scans of one folder with one template set."""
    with tempfile.TemporaryDirectory() as folder:
        cases = [Case(patient.name, patient.path) for patient in patients]
        evaluate(model, templates, cases, patients[0].labels, folder)
        with (Path(folder) / "cases.csv").open(encoding="utf-8") as file:
            return list(csv.DictReader(file))


def dice(
    model: MedLSAM,
    localizer: SeenOnce,
    patients: Sequence[Patient],
    queries: Sequence[Patient],
    names: dict[int, str],
) -> dict[str, list[dict[str, str]]]:
    """Masks of the queries with all templates, and of every scan with all others."""
    six = build_templates(localizer, [p.scan for p in patients], names)  # type: ignore[arg-type]
    rows = {"queries": masks(model, six, queries), "leave-one-patient-out": []}
    for query in (*queries, *patients):
        others = [p.scan for p in (*queries, *patients) if p is not query]
        templates = build_templates(localizer, others, names)  # type: ignore[arg-type]
        rows["leave-one-patient-out"] += masks(model, templates, [query])
        progress(f"masks of {query.name}")
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="for --dice: a known name or a weights file")
    parser.add_argument(
        "--draws", type=int, default=4, help="of each number of templates, for each structure of each scan"
    )
    parser.add_argument("--choose", action="store_true", help="only leave-one-out among the templates")
    parser.add_argument("--dice", action="store_true", help="masks as well")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    patients, names = read_patients(arguments.ct / "bodyval" / "templates")
    structures = [names[value] for value in sorted(names)]
    document: dict[str, Any] = {"localizer": localizer.signature}
    tables: list[Table] = []
    if arguments.choose:
        groups = by_way(leave_one_out(localizer, patients, names, COUNTS, arguments.draws))
        title = f"leave-one-patient-out, the {len(patients)} template patients"
        tables += [boxes_table(title, groups, structures), status_table(f"{title}: statuses", groups)]
        document |= {
            "choose": figures(groups),
            "answers": [f.to_dict() for own in groups.values() for f in own],
        }
        answer(tables, document, arguments.json)
        return
    queries, _ = read_patients(arguments.ct / "bodyval")
    six = build_templates(localizer, [p.scan for p in patients], names)  # type: ignore[arg-type]
    asked = [f for query in queries for f in ask(localizer, "queries", query, six)]
    progress("queries")
    everyone = [*queries, *patients]
    groups = by_way(leave_one_out(localizer, everyone, names, COUNTS, arguments.draws))
    progress("leave-one-patient-out")
    pairs, places = phase_boxes(localizer, arguments.ct / "body2", patients, names)
    progress("phases")
    title = f"leave-one-patient-out, {len(everyone)} patients"
    tables += [
        answers_table(f"{len(queries)} query patients, templates of {len(patients)} others", asked),
        boxes_table("the same, by structure", {"six": asked}, structures),
        boxes_table(title, groups, structures),
        status_table("statuses", {"queries": asked, **groups}),
        *phase_tables(pairs, places),
    ]
    document |= {
        "queries": figures({"queries": asked})["queries"],
        "leave_one_out": figures(groups),
        "answers": [f.to_dict() for own in (asked, *groups.values()) for f in own],
        "phases": [[own.to_dict(), there.to_dict()] for own, there in pairs],
        "places": [asdict(m) for m in places],
    }
    if arguments.dice:
        localizer_, segmenter = arguments.localizer, arguments.segmenter
        model = medlsam.load(localizer=localizer_, segmenter=segmenter, device=arguments.device)
        rows = dice(model, localizer, patients, queries, names)
        tables += [dice_table(f"{name}: Dice", own, structures) for name, own in rows.items()]
        document["dice"] = rows
    answer(tables, document, arguments.json)


if __name__ == "__main__":
    command(main)
