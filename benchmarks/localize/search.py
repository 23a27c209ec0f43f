"""How well localization finds boxes, by encoder and by way of searching: the table that choices are made on.

    python benchmarks/localize/search.py --localizer medlam-tiny [FILE ...] [--ways default,paper,...] [--by-organ]

Scans are embedded once per encoder; no segmenter runs and no status is asked: every box counts. The default cases are
of the `pretrain` split and were kept out of the training of the trials (configs/trials/).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import medlsam
from medlsam.evaluation.references import find_references
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_case_list
from medlsam.io.read import read_image
from medlsam.localize.locate import locate
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import box_iou, wall_distance
from medlsam.options import LocateOptions
from medlsam.pipeline.scan import case_generator

SHARED = "../shared/ct/openkbp"
#: Name to (search, options).
WAYS: dict[str, tuple[str, SearchOptions]] = {
    "default": ("consensus", SearchOptions()),
    "coarse": ("consensus", SearchOptions(windows_mm=())),
    "votes": ("consensus", SearchOptions(alignment=False)),
    "votes-coarse": ("consensus", SearchOptions(alignment=False, windows_mm=())),
    "paper": ("random-start", SearchOptions()),
    "coarse-paper": ("random-start", SearchOptions(paper_window_mm=0.0)),
    "two-windows": ("consensus", SearchOptions(windows_mm=(32.0, 16.0))),
    "narrow": ("consensus", SearchOptions(windows_mm=(16.0,))),
    "wide": ("consensus", SearchOptions(windows_mm=(64.0, 32.0, 16.0))),
    "fit": ("consensus", SearchOptions(own_weight=0.0)),
    "half-own": ("consensus", SearchOptions(own_weight=0.5)),
    "own": ("consensus", SearchOptions(own_weight=1.0)),
    "no-probe": ("consensus", SearchOptions(probe=False)),
    "no-deformation": ("consensus", SearchOptions(deformation=False)),
    "face0": ("consensus", SearchOptions(face_weight=0.0)),
    "face1": ("consensus", SearchOptions(face_weight=1.0)),
    "face1-own": ("consensus", SearchOptions(face_weight=1.0, own_weight=1.0)),
    "sharp": ("consensus", SearchOptions(temperature=0.015)),
    "soft": ("consensus", SearchOptions(temperature=0.06)),
}
Scores = dict[str, list[tuple[float, float]]]


def score(
    seen: dict[str, ScanEmbedding], templates: TemplateSet, truth: dict[str, dict[str, medlsam.Box]], way: str
) -> Scores:
    """Structure to (IoU, wall distance in mm) of every case that has it."""
    search, constants = WAYS[way]
    scores: Scores = defaultdict(list)
    for case, embedding in seen.items():
        found = locate(
            embedding,
            templates,
            LocateOptions(search=search),
            generator=case_generator(0, case),
            search_options=constants,
        )
        for structure, box in truth[case].items():
            if structure in found:
                scores[structure].append(
                    (box_iou(found[structure].box, box), wall_distance(found[structure].box, box))
                )
    return scores


def mean_row(scores: Scores) -> tuple[float, float]:
    """Mean over structures of the mean over cases: IoU and wall distance, mm."""
    rows = np.array([np.mean(values, axis=0) for values in scores.values()])
    return float(rows[:, 0].mean()), float(rows[:, 1].mean())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--localizer", nargs="+", default=["medlam-tiny"])
    parser.add_argument("--support", default=f"{SHARED}/templates")
    parser.add_argument("--images", default=f"{SHARED}/imagesTr")
    parser.add_argument("--labels", default=f"{SHARED}/labelsTr")
    parser.add_argument("--cases", default="configs/trials/cases.json:choose")
    parser.add_argument("--ways", default="default,coarse,paper,coarse-paper", help=", ".join(WAYS))
    parser.add_argument("--by-organ", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep = set(read_case_list(arguments.cases))
    cases = [case for case in find_cases(Path(arguments.images)) if case.name in keep]
    references = find_references(Path(arguments.labels), None)
    truth = {}
    for case in cases:
        reference = references.read(case.name)
        truth[case.name] = {structure: reference.box(structure) for structure in reference.values}
    ways = arguments.ways.split(",")
    table = Table(title=f"{len(cases)} cases: mean box IoU / wall distance, mm")
    for column in ("localizer", *ways):
        table.add_column(column)
    structures = Table(title=f"by structure, {ways[0]}")
    structures.add_column("localizer")
    result: dict[str, dict[str, tuple[float, float]]] = {}
    for name in arguments.localizer:
        model = medlsam.load(localizer=name)
        templates = model.templates(arguments.support)
        with torch.inference_mode():
            seen = {case.name: model.localizer.embed(read_image(case.path)) for case in cases}
        scores = {way: score(seen, templates, truth, way) for way in ways}
        result[name] = {way: mean_row(s) for way, s in scores.items()}
        table.add_row(name, *[f"{iou:.3f} / {wall:.1f}" for iou, wall in result[name].values()])
        rows = {structure: np.mean(values, axis=0) for structure, values in scores[ways[0]].items()}
        if len(structures.columns) == 1:
            for structure in templates.structures:
                structures.add_column(structure)
        structures.add_row(
            name, *[f"{rows[o][0]:.2f} / {rows[o][1]:.1f}" for o in templates.structures if o in rows]
        )
    console = Console(width=200)
    console.print(table)
    if arguments.by_organ:
        console.print(structures)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
