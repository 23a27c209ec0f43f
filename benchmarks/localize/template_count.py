"""What more templates are worth: box IoU and wall distance with one, three and five of them.

    python benchmarks/localize/template_count.py [--cases FILE.json:key] [--limit N] [--counts 1,3,5] [--json FILE]

Localization only: no segmenter runs and each scan is embedded once. For fewer than all templates there are as many
sets as templates, each taken as often as the others (with five: five single ones, five triples); every set is built
with its own leave-one-out calibration, and a structure that it calls missing counts IoU 0. Prints, by structure and in
the mean over structures, the mean over the sets ± the standard deviation between them. The default cases are those of
the `val` split of `openkbp`: forty cases take some minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce, answer, command, listed_cases, options, progress
from medlsam.evaluation.references import References, find_references
from medlsam.evaluation.scores import StructureScore, aggregate_boxes, score_box
from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.summary import summarize
from medlsam.pipeline.templates import choose_templates, read_templates

Sets = dict[int, list[TemplateSet]]


def windows(items: Sequence[Any], count: int) -> list[tuple[Any, ...]]:
    """Subsets of a size, each item in as many of them as any other: runs of ``count`` around the circle of items."""
    if count >= len(items):
        return [tuple(items)]
    return [tuple(items[(start + i) % len(items)] for i in range(count)) for start in range(len(items))]


def build_sets(
    localizer: SeenOnce, templates: Sequence[Template], names: dict[int, str], counts: Sequence[int]
) -> Sets:
    """Number of templates to the template sets of that size."""
    return {
        count: [build_templates(localizer, chosen, names) for chosen in windows(templates, count)]  # type: ignore[arg-type]
        for count in counts
    }


def measure(
    localizer: SeenOnce, sets: Sets, cases: Sequence[Case], references: References
) -> dict[int, list[list[StructureScore]]]:
    """Number of templates to, per set, the box scores of every labelled structure of every case."""
    scores: dict[int, list[list[StructureScore]]] = {count: [[] for _ in own] for count, own in sets.items()}
    for number, case in enumerate(cases, start=1):
        volume = read_image(case.path)
        embedding = localizer.embed(volume)
        reference = references.read(case.name, volume)
        for count, own in sets.items():
            for kept, templates in zip(scores[count], own, strict=True):
                found = locate(embedding, templates)
                kept += [
                    score_box(case.name, name, found[name], reference.box(name))
                    for name in reference.values
                    if name in found
                ]
        localizer.forget()
        progress(f"{number}/{len(cases)} {case.name}")
    return scores


def summary(scores: dict[int, list[list[StructureScore]]], order: Sequence[str]) -> dict[str, Any]:
    """Per number of templates: mean, std and n over the sets, of every structure and of the mean over them."""
    result: dict[str, Any] = {}
    for count, own in scores.items():
        sets = [aggregate_boxes(kept, order) for kept in own]
        structures = {
            name: {
                "iou": summarize(s["organs"][name]["iou"]["mean"] for s in sets),
                "wall_distance_mm": summarize(
                    _number(s["organs"][name]["wall_distance_mm"]["mean"]) for s in sets
                ),
                "n": sets[0]["organs"][name]["n"],
                "missed": sum(s["organs"][name]["missed"] for s in sets) / len(sets),
            }
            for name in sets[0]["organs"]
        }
        mean = {key: summarize(_number(s["mean"][key]) for s in sets) for key in ("iou", "wall_distance_mm")}
        result[str(count)] = {"sets": len(sets), "organs": structures, "mean": mean, "by_set": sets}
    return result


def tables(result: dict[str, Any], cases: int) -> list[Table]:
    """Structures down, numbers of templates across."""
    table = Table(
        title=f"{cases} cases: box IoU and wall distance in mm, by number of templates",
        caption="mean over template sets ± one standard deviation between sets; missed: per set, counted IoU 0",
        box=SIMPLE_HEAD,
    )
    table.add_column("structure", no_wrap=True)
    table.add_column("n", justify="right")
    for count, entry in result.items():
        for head in (f"IoU, {count} ({entry['sets']} sets)", f"wall mm, {count}", f"missed, {count}"):
            table.add_column(head, justify="right")
    first = next(iter(result.values()))
    for name, structure in first["organs"].items():
        cells = [_cells(entry["organs"][name], entry["organs"][name]["missed"]) for entry in result.values()]
        table.add_row(name, str(structure["n"]), *chain(*cells))
    table.add_section()
    missed = [sum(structure["missed"] for structure in entry["organs"].values()) for entry in result.values()]
    cells = [_cells(entry["mean"], total) for entry, total in zip(result.values(), missed, strict=True)]
    table.add_row("mean", "", *chain(*cells), style="bold")
    return [table]


def _cells(entry: dict[str, Any], missed: float) -> list[str]:
    return [_between(entry["iou"], 3), _between(entry["wall_distance_mm"], 1), f"{missed:.1f}"]


def _between(entry: dict[str, Any], digits: int) -> str:
    """Mean and spread over the sets; one set has no spread."""
    if entry["mean"] is None:
        return "–"
    more = f" ±{entry['std']:.{digits}f}" if entry["n"] > 1 else ""
    return f"{entry['mean']:.{digits}f}{more}"


def _number(value: float | None) -> float:
    """NaN for what has no value, as ``summarize`` wants it."""
    return float("nan") if value is None else value


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--support", type=Path, help="templates folder (openkbp/templates)")
    parser.add_argument("--images", type=Path, help="scans (openkbp/imagesTr)")
    parser.add_argument("--labels", type=Path, help="label maps (openkbp/labelsTr)")
    parser.add_argument("--cases", help="case list (openkbp/splits.json:val)")
    parser.add_argument("--limit", type=int, default=0, help="only so many cases, evenly spaced; 0 for all")
    parser.add_argument("--counts", default="1,3,5", help="numbers of templates")
    arguments = parser.parse_args()
    folder = arguments.ct / "openkbp"
    cases = listed_cases(
        arguments.images or folder / "imagesTr",
        arguments.cases or f"{folder}/splits.json:val",
        arguments.limit,
    )
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    found, names = choose_templates(arguments.support or folder / "templates")
    templates = list(read_templates(found, names))
    counts = sorted({min(int(count), len(templates)) for count in arguments.counts.split(",")})
    sets = build_sets(localizer, templates, names, counts)
    references = find_references(arguments.labels or folder / "labelsTr")
    scores = measure(localizer, sets, cases, references)
    result = summary(scores, [name for _, name in sorted(names.items())])
    document = {"localizer": localizer.signature, "cases": [case.name for case in cases], "by_count": result}
    answer(tables(result, len(cases)), document, arguments.json)


if __name__ == "__main__":
    command(main)
