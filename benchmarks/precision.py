"""What bfloat16 changes: boxes, statuses and masks of real scans beside those of float32.

    python benchmarks/precision.py [--segmenter sam-tiny] [--limit 8]

Every case is located and segmented three times: in float32, in bfloat16 with the templates that float32 made, and in
bfloat16 throughout. Printed are how far faces move, how many statuses change, how much the masks overlap with those of
float32 (from each one's own boxes, and from the boxes of float32), and IoU and Dice with the labels (means over all
structures that can be scored). The default cases are those to choose on. On a machine without bfloat16 units this takes
very long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, listed_cases, options, progress
from medlsam.evaluation.oracles import score_map
from medlsam.evaluation.references import CaseReference, find_references
from medlsam.io.read import read_image
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.pipeline.model import MedLSAM
from medlsam.results import Localization, Segmentation
from medlsam.volume import Image

WAYS = ("float32", "bfloat16, templates of float32", "bfloat16")
HEADS = (
    "precision", "faces moved, mean mm", "99 %", "most", "statuses changed", "Dice with float32's masks",
    "least", "same boxes", "least of them", "Dice with the labels",
)  # fmt: skip


def segmented(model: MedLSAM, scan: Image, located: Localization) -> Segmentation:
    """Structures from their boxes, labelled 1, 2, ... in the order of the answer."""
    values = {name: value for value, name in enumerate(located.structures, start=1)}
    return model.segment_located(scan, located, values)


def compare(
    located: Localization, mine: Segmentation, same: Segmentation, base: Localization, theirs: Segmentation
) -> list[dict[str, float]]:
    """One row for every structure that both have found."""
    rows = []
    for value, (name, own) in enumerate(located.structures.items(), start=1):
        other = base.structures[name]
        assert own.box is not None
        assert other.box is not None
        reference = theirs.labels.array == value
        row = {
            "moved_mm": float(np.abs(own.box.faces - other.box.faces).max()),
            "status": float(own.status != other.status),
        }
        if own.present and other.present and reference.any():
            row["dice"] = dice(mine.labels.array == value, reference)
            row["dice_same_boxes"] = dice(same.labels.array == value, reference)
        rows.append(row)
    return rows


def against_labels(found: Segmentation, located: Localization, reference: CaseReference) -> list[float]:
    """Dice of every structure that can be scored."""
    values = {name: value for value, name in enumerate(located.structures, start=1)}
    names = [name for name in reference.values if name in located.structures]
    return [score.dice for score in score_map(found.labels.array, values, reference, names).values()]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--data", default="openkbp", help="folder of --ct: templates/, imagesTr/, labelsTr/")
    parser.add_argument("--cases", default="configs/trials/cases.json:choose", metavar="FILE:KEY")
    parser.add_argument("--limit", type=int, default=8, help="so many of the cases, evenly spaced; 0 for all")
    arguments = parser.parse_args()
    root = arguments.ct / arguments.data
    models: dict[str, MedLSAM] = {
        precision: medlsam.load(
            localizer=arguments.localizer,
            segmenter=arguments.segmenter,
            device=arguments.device,
            precision=precision,
        )
        for precision in ("float32", "bfloat16")
    }
    made: dict[str, TemplateSet] = {name: own.templates(root / "templates") for name, own in models.items()}
    ways = dict(
        zip(
            WAYS,
            [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")],
            strict=True,
        )
    )
    references = find_references(root / "labelsTr")
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    for case in listed_cases(root / "imagesTr", arguments.cases, arguments.limit):
        scan = read_image(case.path)
        seen = {precision: model.embed(scan) for precision, model in models.items()}
        reference = references.read(case.name, scan)
        base: tuple[Localization, Segmentation] | None = None
        for way, (precision, templates) in ways.items():
            model = models[precision]
            located = model.localize(scan, made[templates], case=case.name, embedding=seen[precision])
            found = segmented(model, scan, located)
            base = base or (located, found)
            same = segmented(model, scan, base[0])
            rows[way] += compare(located, found, same, *base)
            scores[way] += against_labels(found, located, reference)
        progress(case.name)
    table = Table(title=f"{arguments.localizer} and {arguments.segmenter}, {len(rows[WAYS[0]])} structures")
    for head in HEADS:
        table.add_column(head, justify="left" if head == "precision" else "right")
    document: dict[str, Any] = {}
    for way in WAYS:
        moved = [row["moved_mm"] for row in rows[way]]
        own, same_boxes = (
            [row[key] for row in rows[way] if key in row] for key in ("dice", "dice_same_boxes")
        )
        document[way] = {
            "n": len(moved),
            "moved_mm": {
                "mean": float(np.mean(moved)),
                "p99": float(np.quantile(moved, 0.99)),
                "most": max(moved),
            },
            "statuses_changed": sum(row["status"] for row in rows[way]),
            "dice_with_float32": {"mean": float(np.mean(own)), "least": min(own), "n": len(own)},
            "dice_same_boxes": {"mean": float(np.mean(same_boxes)), "least": min(same_boxes)},
            "dice_with_labels": {
                "mean": float(np.mean(scores[way])),
                "std": float(np.std(scores[way])),
                "n": len(scores[way]),
            },
        }
        table.add_row(
            way, f"{np.mean(moved):.3f}", f"{np.quantile(moved, 0.99):.3f}", f"{max(moved):.3f}",
            f"{document[way]['statuses_changed']:.0f}", f"{np.mean(own):.4f}", f"{min(own):.4f}",
            f"{np.mean(same_boxes):.4f}", f"{min(same_boxes):.4f}",
            f"{np.mean(scores[way]):.4f} ±{np.std(scores[way]):.3f} ({len(scores[way])})",
        )  # fmt: skip
    answer([table], document, arguments.json)


if __name__ == "__main__":
    command(main)
