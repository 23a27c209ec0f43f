"""Dice outside of the head and neck: lungs of five chests, and one abdomen in a slab of another.

    python benchmarks/segment/body.py [--segmenter FILE] [--json FILE]

The rows of `medlsam evaluate` for the labelled scans of `body/`. Chests: every scan with the whole lungs of all the
others as templates (four at most); `nsclc_lung1_001` (clinical contours) was never seen in training, the others' lungs
are threshold masks that both networks were trained on. Abdomen: `ts_example_ct` is the only template of
`ts_example_dicom`, a slab of 40 mm that cuts nearly every structure, so only masks are compared; both are a model's
labels and were in the training. So the abdomen tells what one template does to located boxes, and nothing about scans
of other people. Takes about two minutes on two cores.
"""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, held, options, progress, spread
from benchmarks.localize.body.abdomen import SLAB
from benchmarks.localize.body.lungs import CHEST, LUNGS, whole_structures
from benchmarks.localize.status.absent import ABDOMEN_TEMPLATE
from medlsam.evaluation.run import evaluate
from medlsam.evaluation.scores import ROWS
from medlsam.io.cases import Case
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.templates import choose_templates, read_templates

Row = dict[str, str]


def fold(
    model: MedLSAM, body: Path, query: str, templates: Sequence[str], complete: Sequence[str], work: Path
) -> list[Row]:
    """The lines of ``cases.csv`` of one scan that was evaluated with templates from others.

    Args:
        model: with its segmenter.
        body: holds ``<case>/image.nii.gz``, ``labels.nii.gz`` and ``labels.json``.
        query: the scan.
        templates: the scans that templates are made of.
        complete: structures to look for and to score.
        work: an empty folder.
    """
    labels = work / "labels" / query
    labels.mkdir(parents=True)
    for file in ("labels.nii.gz", "labels.json"):
        shutil.copy(body / query / file, labels / file)
    (labels.parent / "cases.json").write_text(json.dumps({"cases": {query: {"complete": list(complete)}}}))
    template = model.templates(body, organs=complete, cases=list(templates))
    evaluate(model, template, [Case(query, body / query / "image.nii.gz")], labels.parent, work / "out")
    with (work / "out" / "cases.csv").open(encoding="utf-8") as table:
        return list(csv.DictReader(table))


def values(rows: Sequence[Row], column: str) -> list[float]:
    """A column as numbers; an empty cell is nan."""
    return [float(row[column] or "nan") for row in rows]


def table(title: str, groups: Mapping[str, Sequence[Row]], boxes: bool) -> Table:
    """One line for each group of scans and structures.

    Args:
        title: of the table.
        groups: name to lines of ``cases.csv``.
        boxes: whether boxes can be compared: not where the scan cuts the structures.
    """
    made = Table(title=title, box=SIMPLE_HEAD, caption="mean ± standard deviation over scans and structures")
    heads = ["", "n", "status", *(["box IoU"] if boxes else []), *(f"Dice {row}" for row in ROWS)]
    for head in [*heads, "HD95 mm located", "NSD located"]:
        made.add_column(head, justify="left" if head in ("", "status") else "right")
    for name, rows in groups.items():
        counts = {
            status: sum(r["status"] == status for r in rows)
            for status in dict.fromkeys(r["status"] for r in rows)
        }
        said = (
            next(iter(counts))
            if len(rows) == 1
            else ", ".join(f"{n} {status}" for status, n in counts.items())
        )
        made.add_row(
            name, str(len(rows)), said, *([spread(values(rows, "iou"))] if boxes else []),
            *(spread(values(rows, f"dice_{row}")) for row in ROWS),
            spread(values(rows, "hd95_mm_located"), 1), spread(values(rows, "nsd_located")),
        )  # fmt: skip
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    arguments = parser.parse_args()
    body = arguments.ct / "body"
    model = medlsam.load(
        localizer=arguments.localizer, segmenter=arguments.segmenter, device=arguments.device
    )
    found, names = choose_templates(body, [*CHEST, ABDOMEN_TEMPLATE, SLAB])
    templates = {template.name: template for template in read_templates(found, names)}
    whole = whole_structures([templates[name] for name in CHEST], names)
    chests: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for query in CHEST:
            others = [name for name in CHEST if name != query and whole[name] == set(LUNGS)]
            if whole[query]:
                chests += fold(model, body, query, others, sorted(whole[query]), Path(folder) / query)
                progress(f"{query} with {', '.join(others)}")
        common = sorted(held([templates[ABDOMEN_TEMPLATE]], names) & held([templates[SLAB]], names))
        slab = fold(model, body, SLAB, [ABDOMEN_TEMPLATE], common, Path(folder) / SLAB)
    by_scan = {f"{r['case']} {r['organ']}": [r] for r in chests}
    by_structure = {r["organ"]: [r] for r in slab}
    tables = [
        table("lungs, templates of the other chests", {**by_scan, "mean": chests}, True),
        table(f"{SLAB}, {ABDOMEN_TEMPLATE} as the only template", {**by_structure, "mean": slab}, False),
    ]
    weights: dict[str, Any] = {"localizer": model.localizer_weights, "segmenter": model.segmenter_weights}
    answer(tables, {"weights": weights, "chests": chests, "slab": slab}, arguments.json)


if __name__ == "__main__":
    command(main)
