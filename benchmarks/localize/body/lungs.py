"""Lungs, leave-one-out over the labelled chest scans: box IoU with two templates.

    python benchmarks/localize/body/lungs.py [--templates 2] [--sets N] [--json FILE]

Every labelled chest scan of `body/` is located with every pair of the others (with `--sets N` a seeded sample of N
pairs per scan and lung); pairs and scans are of different patients. Where a scan ends inside of a lung, its label has
no end there: such a lung is no template, and as a query it is listed apart, its located box cut to what was scanned.
The crops around one lung are listed apart as well. Prints IoU and wall distance by scan and lung, mean ± standard
deviation over the pairs, then the means over scans, with nsclc_lung1_001 (clinical contours, never seen in training) by
itself. Boxes count whatever their status. Takes about a minute on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import (
    SeenOnce,
    answer,
    command,
    cut_structures,
    held,
    in_view,
    options,
    progress,
    spread,
)
from medlsam.geometry import mask_box
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.measure.metrics import box_iou, wall_distance
from medlsam.pipeline.templates import choose_templates, read_templates

LUNGS = ("lung_left", "lung_right")
CHEST = ("acrin_flt_breast_013", "cmb_crc_01068", "lidc_0001", "lidc_0314", "nsclc_lung1_001")
ONE_LUNG = ("elastix_lung_baseline", "elastix_lung_followup")
UNSEEN = "nsclc_lung1_001"
#: Scans of one patient.
PATIENT = dict.fromkeys(ONE_LUNG, "elastix")
#: The threshold labels of lidc_0001 run a few voxels up the neck, to the last slice: that lung is whole all the same.
END_SHARE = 0.02


@dataclass(frozen=True)
class Trial:
    """One structure of one scan, located with one set of templates.

    Attributes:
        scan: the query.
        structure: the structure.
        group: ``chest``, ``one lung`` or ``cut``.
        templates: names of the template scans.
        status: of the answer.
        iou: of the box, whatever its status (of what was scanned of it, where the scan cuts the structure).
        wall_mm: mean distance of the faces, likewise; nan where nothing of the box was scanned.
    """

    scan: str
    structure: str
    group: str
    templates: tuple[str, ...]
    status: str
    iou: float
    wall_mm: float


def template_sets(
    query: str, structure: str, whole: dict[str, set[str]], count: int, most: int, seed: int = 0
) -> list[tuple[str, ...]]:
    """Sets of scans, of patients other than the query's and than each other, that hold a structure whole.

    Args:
        query: scan that is located.
        structure: the structure.
        whole: scan to its whole structures.
        count: templates in a set.
        most: a seeded sample of so many sets; 0 for all.
        seed: of the sample.
    """
    able = [name for name in whole if structure in whole[name] and _patient(name) != _patient(query)]
    sets = [
        chosen for chosen in combinations(able, count) if len({_patient(name) for name in chosen}) == count
    ]
    if 0 < most < len(sets):
        picked = np.random.default_rng(seed).choice(len(sets), most, replace=False)
        sets = [sets[int(place)] for place in sorted(picked)]
    return sets


def whole_structures(
    templates: Sequence[Template], names: dict[int, str], organs: Sequence[str] = LUNGS
) -> dict[str, set[str]]:
    """Scan to those of some structures that it holds and does not cut."""
    return {s.name: (held([s], names) & set(organs)) - cut_structures(s, names, END_SHARE) for s in templates}


def measure(
    localizer: SeenOnce,
    scans: Sequence[Template],
    names: dict[int, str],
    organs: Sequence[str] = LUNGS,
    count: int = 2,
    most: int = 0,
) -> list[Trial]:
    """Locate every labelled structure of every scan with sets of the other scans."""
    by_name = {template.name: template for template in scans}
    values = {name: value for value, name in names.items()}
    there = {s.name: held([s], names) & set(organs) for s in scans}
    whole = whole_structures(scans, names, organs)
    trials = []
    for template in scans:
        assert template.labels is not None
        view = template.image.grid.box
        embedding = localizer.embed(template.image)
        for structure in organs:
            if structure not in there[template.name]:
                continue
            truth = mask_box(template.labels.array == values[structure], template.labels.grid)
            group = "one lung" if template.name in ONE_LUNG else "chest"
            group = group if structure in whole[template.name] else "cut"
            for chosen in template_sets(template.name, structure, whole, count, most):
                templates = build_templates(
                    localizer,  # type: ignore[arg-type]
                    [by_name[name] for name in chosen],
                    names,
                    organs=[structure],
                )
                found = locate(embedding, templates)[structure]
                box = in_view(found.box, view) if group == "cut" else found.box
                trials.append(
                    Trial(
                        template.name,
                        structure,
                        group,
                        chosen,
                        found.status,
                        box_iou(box, truth),
                        wall_distance(box, truth),
                    )
                )
        progress(template.name)
    return trials


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Means over scans and lungs (of their means over template sets), by group, and of the unseen scan alone."""
    groups = {group: [t for t in trials if t.group == group] for group in ("chest", "one lung", "cut")}
    groups[UNSEEN] = [t for t in groups["chest"] if t.scan == UNSEEN]
    result = {}
    for group, own in groups.items():
        pairs = sorted({(t.scan, t.structure) for t in own})
        ious = [float(np.mean([t.iou for t in own if (t.scan, t.structure) == pair])) for pair in pairs]
        walls = [
            float(np.nanmean([t.wall_mm for t in own if (t.scan, t.structure) == pair])) for pair in pairs
        ]
        result[group] = {
            "n": len(pairs),
            "trials": len(own),
            "iou": ious,
            "wall_mm": walls,
            "not_there": sum(t.status in ("missing", "out_of_view") for t in own),
        }
    return result


def tables(trials: Sequence[Trial], result: dict[str, Any], count: int) -> list[Table]:
    """One line per scan and lung, and one per group."""
    title = f"lungs with {count} templates of other patients"
    table = Table(title=title, box=SIMPLE_HEAD, caption="mean ± standard deviation over template sets")
    for head in ("scan", "lung", "group", "sets", "found", "box IoU", "wall mm"):
        table.add_column(head, justify="left" if head in ("scan", "lung", "group") else "right")
    for scan, structure, group in dict.fromkeys((t.scan, t.structure, t.group) for t in trials):
        own = [t for t in trials if (t.scan, t.structure) == (scan, structure)]
        found = sum(t.status in ("found", "uncertain") for t in own)
        table.add_row(
            scan, structure, group, str(len(own)), f"{found}/{len(own)}",
            spread([t.iou for t in own]), spread([t.wall_mm for t in own], 1),
        )  # fmt: skip
    means = Table(
        title="means",
        box=SIMPLE_HEAD,
        caption="over scans and lungs ± one standard deviation; cut: the part that was scanned of both boxes",
    )
    for head in ("group", "scans and lungs", "box IoU", "wall mm", "called missing or out of view"):
        means.add_column(head, justify="left" if head == "group" else "right")
    for group, entry in result.items():
        missed = f"{entry['not_there']} of {entry['trials']}"
        means.add_row(group, str(entry["n"]), spread(entry["iou"]), spread(entry["wall_mm"], 1), missed)
    return [table, means]


def _patient(scan: str) -> str:
    return PATIENT.get(scan, scan)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--templates", type=int, default=2, help="templates in a set")
    parser.add_argument("--sets", type=int, default=0, help="sets per scan and lung; 0 for all there are")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    found, names = choose_templates(arguments.ct / "body", [*CHEST, *ONE_LUNG])
    trials = measure(
        localizer, list(read_templates(found, names)), names, LUNGS, arguments.templates, arguments.sets
    )
    result = summary(trials)
    document = {"localizer": localizer.signature, "groups": result, "trials": [asdict(t) for t in trials]}
    answer(tables(trials, result, arguments.templates), document, arguments.json)


if __name__ == "__main__":
    command(main)
