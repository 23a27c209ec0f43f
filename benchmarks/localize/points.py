"""What templates of six clicked points are worth, beside templates with masks drawn by hand.

    python benchmarks/localize/points.py [--data openkbp] [--cases FILE:KEY] [--limit 12] [--jitter 0] [--json FILE]

Four template sets are made of the same scans. `masks` has their label maps. The others have the extreme points of
those labels only: `one box` asks the segmenter for the whole box in every slice (as MedLSAM's paper does, and as
medlsam did before), `outline` for the box that the points let expect there, `drawn` lets sam-tiny draw masks in the
templates first, as `medlsam template build` does. Every case is located and segmented with each set. Printed are the
Dice of what was drawn in the templates, and the Dice in the cases by structure (a missed structure counts 0), their
mean ± SD over structures, and the paired difference from `masks` (mean and standard error over the cases).

A person does not click the very extreme: `--jitter` moves every point by so many mm (normal, each axis). The default
cases are those that choices are made on; `--cases ../shared/ct/openkbp/splits.json:val` is for results, and so is
`--data bodyval --cases all`. `--leave-one-out` scores the templates themselves, each with the others. About 15 s a case
on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import medlsam
from benchmarks.common import answer, command, evenly, listed_cases, options, progress, spread
from benchmarks.segment.prompt_policies import Scores, by_structure, gain
from medlsam.evaluation.references import find_references
from medlsam.geometry import ExtremePoints
from medlsam.io.cases import find_cases
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.options import InferenceOptions
from medlsam.pipeline.drawn_masks import with_drawn_masks
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import Image, to_canonical

#: Way to the options of its segmentation.
WAYS = {
    "masks": InferenceOptions(),
    "one box": InferenceOptions.of(prompts="wpl"),
    "outline": InferenceOptions(),
    "drawn": InferenceOptions(),
}


def clicked(template: Template, names: dict[int, str], jitter: float, seed: int) -> Template:
    """The template with the extreme points of its labels in their place, each moved by a normal error in mm."""
    assert template.labels is not None, "a scan with labels"
    labels, stream = to_canonical(template.labels), np.random.default_rng(seed)
    points = {}
    for value in np.unique(labels.array).tolist():
        if value:
            exact = ExtremePoints.from_mask(labels.array == value, labels.grid)
            moved = ExtremePoints.from_unordered(exact.array + stream.normal(0, jitter, (6, 3)))
            points[names[value]] = exact if min(moved.box.size) <= 0 else moved
    return replace(template, labels=None, points=points)


def drawn_dice(template: Template, truth: Template, names: dict[int, str]) -> dict[str, float]:
    """Dice of every mask that was drawn in a template; 0 where none was kept."""
    assert truth.labels is not None, "a scan with labels"
    labels, values = to_canonical(truth.labels), {name: value for value, name in names.items()}
    masks = template.drawn or {}
    return {
        name: dice(masks[name], labels.array == values[name]) if name in masks else 0.0
        for name in template.points or {}
    }


@dataclass(frozen=True)
class Made:
    """The four template sets, label value to structure, and the Dice of what was drawn in each template."""

    sets: dict[str, TemplateSet]
    names: dict[int, str]
    drawn: list[dict[str, float]]


def template_sets(model: MedLSAM, folder: Path, jitter: float) -> Made:
    """Four template sets of one folder with label maps."""
    found, names = choose_templates(folder)
    full = [replace(one, embedding=model.localizer.embed(one.image)) for one in read_templates(found, names)]
    points = [clicked(one, names, jitter, seed) for seed, one in enumerate(full)]
    drawn = [with_drawn_masks(one, lambda: model.segmenter) for one in points]
    made = {"masks": full, "one box": points, "outline": points, "drawn": drawn}
    sets = {way: build_templates(model.localizer, own, names) for way, own in made.items()}
    return Made(sets, names, [drawn_dice(one, true, names) for one, true in zip(drawn, full, strict=True)])


def scans_of(
    arguments: argparse.Namespace, root: Path, names: dict[int, str]
) -> Iterator[tuple[str, Image, dict[str, NDArray[np.bool_]]]]:
    """The cases to score: name, scan, and structure to its true mask in the scan's own geometry."""
    if arguments.leave_one_out:
        for one in read_templates(*choose_templates(root / "templates")):
            assert one.labels is not None, "a scan with labels"
            present = set(np.unique(one.labels.array).tolist())
            own = {name: one.labels.array == value for value, name in names.items() if value in present}
            yield one.name, one.image, own
        return
    references = find_references(root / "labelsTr")
    if arguments.cases == "all":
        cases = evenly(find_cases(root / "imagesTr"), arguments.limit)
    else:
        cases = listed_cases(root / "imagesTr", arguments.cases, arguments.limit)
    for case in cases:
        scan = read_image(case.path)
        reference = references.read(case.name, scan)
        array, values = reference.labels.array, reference.values
        yield case.name, scan, {name: array == value for name, value in values.items()}


def score_case(
    model: MedLSAM,
    case: str,
    scan: Image,
    truth: dict[str, NDArray[np.bool_]],
    sets: dict[str, TemplateSet],
) -> dict[str, dict[str, float]]:
    """Dice of every structure, by way; a missed structure has no voxel, so 0."""
    embedding, found = model.embed(scan), {}
    for way, templates in sets.items():
        result = model.segment(scan, templates, WAYS[way], case=case, embedding=embedding)
        found[way] = {
            name: dice(result.labels.array == templates.values[name], mask)
            for name, mask in truth.items()
            if name in templates.by_structure
        }
    return found


def table(title: str, scores: Scores, structures: Sequence[str]) -> Table:
    """One line per template set."""
    found = Table(title=title)
    for head in ("templates", *structures, "mean", "against masks"):
        found.add_column(head, justify="left" if head == "templates" else "right")
    for way in WAYS:
        rows = by_structure(scores, way)
        more, error = gain(scores, way, "masks")
        found.add_row(
            way,
            *[f"{np.mean(rows[name]):.3f}" if name in rows else "–" for name in structures],
            spread([float(np.mean(values)) for values in rows.values()], 3),
            f"{more:+.3f} ±{error:.3f}" if way != "masks" else "",
        )
    return found


def drawn_table(drawn: Sequence[dict[str, float]], structures: Sequence[str], jitter: float) -> Table:
    """How good the drawn masks are, by structure."""
    found = Table(title=f"what sam-tiny drew in {len(drawn)} templates, points {jitter:g} mm off: Dice")
    values = {name: [one[name] for one in drawn if name in one] for name in structures}
    for head in (*structures, "mean"):
        found.add_column(head, justify="right")
    found.add_row(
        *[spread(own) for own in values.values()],
        spread([float(np.mean(own)) for own in values.values()], 3),
    )
    return found


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", default="openkbp", help="folder of --ct: templates/, imagesTr/, labelsTr/")
    parser.add_argument(
        "--cases",
        default="configs/trials/cases.json:choose",
        metavar="FILE:KEY",
        help="or `all` (%(default)s)",
    )
    parser.add_argument(
        "--leave-one-out",
        action="store_true",
        help="the cases are the templates, each with the others as templates",
    )
    parser.add_argument("--limit", type=int, default=0, help="so many of the cases, evenly spaced; 0 for all")
    parser.add_argument(
        "--jitter", type=float, default=0.0, metavar="MM", help="error of a click (%(default)s)"
    )
    arguments = parser.parse_args()
    root = arguments.ct / arguments.data
    model = medlsam.load(localizer=arguments.localizer, device=arguments.device)
    made = template_sets(model, root / "templates", arguments.jitter)
    scores: Scores = {}
    for case, scan, truth in scans_of(arguments, root, made.names):
        sets = {way: own.without(case) if arguments.leave_one_out else own for way, own in made.sets.items()}
        scores[case] = score_case(model, case, scan, truth, sets)
        means = {way: float(np.mean(list(dices.values()))) for way, dices in scores[case].items()}
        progress(f"{case}: " + ", ".join(f"{way} {mean:.3f}" for way, mean in means.items()))
    structures = made.sets["masks"].structures
    n = sum(len(one["masks"]) for one in scores.values())
    title = f"Dice in {len(scores)} cases ({n} structures), points {arguments.jitter:g} mm off"
    document: dict[str, Any] = {"dice": scores, "drawn": made.drawn, "jitter_mm": arguments.jitter}
    answer(
        [drawn_table(made.drawn, structures, arguments.jitter), table(title, scores, structures)],
        document,
        arguments.json,
    )


if __name__ == "__main__":
    command(main)
