"""How far faces should follow the probe: the same for all structures, or as leave-one-out recommends.

    python benchmarks/localize/reach.py [--cases FILE.json:key] [--limit N] [--json FILE]

Head-neck scans are located with several template sets (the `templates` split, and seeded draws of five, three and two
from other cases of the `pretrain` split), and lungs with every pair of the other chest scans (see `lungs.py`). Prints
mean box IoU / wall distance in mm by set, for fixed trusts along (x, y, z) and for the chosen ones. Boxes count
whatever their status. A quarter of an hour on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce, answer, command, listed_cases, options, progress
from benchmarks.localize.body import lungs
from medlsam.evaluation.references import find_references
from medlsam.geometry import Box, mask_box
from medlsam.io.label_names import read_case_list
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.templates.template_set import AxisTrust, TemplateSet
from medlsam.measure.metrics import box_iou, wall_distance
from medlsam.pipeline.templates import choose_templates, read_templates

CHOOSE, TRAIN = "configs/trials/cases.json:choose", "configs/trials/cases.json:train"
#: Sizes of the template sets that are drawn, and the complete cases that they are drawn from.
DRAWN = (5, 5, 3, 3, 2)
CANDIDATES = 12
WAYS: dict[str, AxisTrust | None] = {
    "none": ("none", "none", "none"),
    "gentle": ("gentle", "gentle", "gentle"),
    "strong": ("strong", "strong", "strong"),
    "gentle within slices": ("gentle", "gentle", "none"),
    "chosen": None,
}
Scores = dict[str, dict[str, list[tuple[float, float]]]]


def with_reach(templates: TemplateSet, trusts: AxisTrust | None) -> TemplateSet:
    """The same templates with one reach for all structures; their own where None."""
    if trusts is None:
        return templates
    fixed = {structure: replace(c, probe_trust=trusts) for structure, c in templates.calibration.items()}
    return replace(templates, calibration=fixed)


def add_scores(scores: Scores, seen: ScanEmbedding, templates: TemplateSet, truth: Mapping[str, Box]) -> None:
    """Locate in every way, and note IoU and wall distance of the structures whose truth is known."""
    for way, trusts in WAYS.items():
        found = locate(seen, with_reach(templates, trusts))
        for structure, box in truth.items():
            if structure in found:
                pair = (box_iou(found[structure].box, box), wall_distance(found[structure].box, box))
                scores.setdefault(way, {}).setdefault(structure, []).append(pair)


def mean(scores: Mapping[str, list[tuple[float, float]]]) -> tuple[float, float]:
    """Mean over structures of the mean over scans."""
    iou, wall = np.mean([np.mean(pairs, axis=0) for pairs in scores.values()], axis=0)
    return float(iou), float(wall)


def head_neck(localizer: SeenOnce, ct: Path, spec: str, limit: int) -> dict[str, Scores]:
    """Template set to scores on the same cases."""
    folder = ct / "openkbp"
    references = find_references(folder / "labelsTr")
    complete = {name: set(entry["complete"]) for name, entry in references.cases.items()}
    able = [c for c in read_case_list(TRAIN) if complete[c] == set(references.names.values())][:CANDIDATES]
    found, names = choose_templates(folder, able)
    others = {s.name: s for s in read_templates(found, names)}
    shipped, _ = choose_templates(folder / "templates", None)
    generator = np.random.default_rng(0)
    sets: dict[str, list[Template]] = {"templates/": list(read_templates(shipped, names))}
    for number, size in enumerate(DRAWN):
        chosen = generator.choice(list(others), size, replace=False)
        sets[f"{size} drawn, {number}"] = [others[str(name)] for name in chosen]
    built = {name: build_templates(localizer, group, names) for name, group in sets.items()}  # type: ignore[arg-type]
    localizer.forget()
    result: dict[str, Scores] = {name: {} for name in built}
    for case in listed_cases(folder / "imagesTr", spec, limit):
        image = read_image(case.path)
        reference = references.read(case.name, image)
        truth = {structure: reference.box(structure) for structure in reference.values}
        for name, templates in built.items():
            add_scores(result[name], localizer.embed(image), templates, truth)
        localizer.forget()
        progress(case.name)
    return result


def chest(localizer: SeenOnce, ct: Path) -> Scores:
    """Scores of whole lungs with all pairs of templates, each lung of each scan a structure of its own."""
    found, names = choose_templates(ct / "body", [*lungs.CHEST, *lungs.ONE_LUNG])
    scans = {s.name: s for s in read_templates(found, names)}
    whole = lungs.whole_structures(list(scans.values()), names)
    values = {name: value for value, name in names.items()}
    scores: Scores = {}
    for name in lungs.CHEST:
        for structure in sorted(whole[name]):
            labels = scans[name].labels
            assert labels is not None
            box = mask_box(labels.array == values[structure], labels.grid)
            own: Scores = {}
            for pair in lungs.template_sets(name, structure, whole, 2, 0):
                group = [scans[p] for p in pair]
                templates = build_templates(localizer, group, names, organs=[structure])  # type: ignore[arg-type]
                add_scores(own, localizer.embed(scans[name].image), templates, {structure: box})
            for way, by_structure in own.items():
                scores.setdefault(way, {})[f"{name} {structure}"] = by_structure[structure]
        progress(name)
    return scores


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--cases", default=CHOOSE, help="head-neck scans (%(default)s)")
    parser.add_argument("--limit", type=int, default=0, help="so many of them, evenly spaced; 0 for all")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    result = head_neck(localizer, arguments.ct, arguments.cases, arguments.limit)
    result["lungs, pairs"] = chest(localizer, arguments.ct)
    table = Table(title="mean box IoU / wall distance, mm", box=SIMPLE_HEAD)
    table.add_column("reach")
    for name in result:
        table.add_column(name, justify="right")
    figures: dict[str, dict[str, Any]] = {}
    for way in WAYS:
        figures[way] = {name: mean(scores[way]) for name, scores in result.items()}
        table.add_row(way, *(f"{iou:.3f} / {wall:.2f}" for iou, wall in figures[way].values()))
    answer([table], {"localizer": localizer.signature, "figures": figures}, arguments.json)


if __name__ == "__main__":
    command(main)
