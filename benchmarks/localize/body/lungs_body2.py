"""Lungs of further chests, with three labelled chests as templates: box IoU, faces and statuses.

    python benchmarks/localize/body/lungs_body2.py [--json FILE]

Queries are chests of `body2/`, whose lungs nobody labelled: masks are made by threshold on the fly (see `lung_masks`),
and a scan is used where both lungs end inside of it and are of comparable size. The templates are the chests of `body/`
in which both lungs lie whole (of five, lidc_0001, lidc_0314 and nsclc_lung1_001), alone, in pairs, and all three. The
queries' scans may have been seen in pretraining, their masks in no training. Takes about a minute on one core.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.common import SeenOnce, answer, command, options, progress
from benchmarks.localize.body.cases import Finding, Patient, ask
from benchmarks.localize.body.lung_masks import lungs, whole
from benchmarks.localize.body.lungs import CHEST, LUNGS, whole_structures
from benchmarks.localize.body.tables import answers_table, box_figures, boxes_table, reliability, status_table
from medlsam.geometry import mask_box
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import to_canonical

#: Chests of other patients than the templates; which of them hold both lungs whole is found by their masks.
QUERIES = (
    "acrin_nsclc_042", "lung4d_113", "lungx_ct004", "nsclc_radiogenomics_r01_001", "rider_0109", "tcga_34_2605",
)  # fmt: skip


def read_query(folder: Path) -> Patient | None:
    """A chest with its lungs by threshold; None where they do not lie whole in the scan."""
    image = to_canonical(read_image(folder / "image.nii.gz"))
    masks = lungs(image.array, image.grid)
    if not whole(masks):
        return None
    boxes = {name: mask_box(masks[name], image.grid) for name in LUNGS}
    return Patient(folder.name, Template(folder.name, image), boxes, (), folder, folder)


def main() -> None:
    arguments = options(__doc__).parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    found, names = choose_templates(arguments.ct / "body", CHEST)
    scans = list(read_templates(found, names))
    held = whole_structures(scans, names)
    chosen = [scan for scan in scans if held[scan.name] == set(LUNGS)]
    sets = {
        str(count): [
            build_templates(localizer, some, names, organs=LUNGS)  # type: ignore[arg-type]
            for some in combinations(chosen, count)
        ]
        for count in (1, 2, len(chosen))
    }
    groups: dict[str, list[Finding]] = {count: [] for count in sets}
    left_out = []
    for name in QUERIES:
        query = read_query(arguments.ct / "body2" / name)
        if query is None:
            left_out.append(name)
            continue
        for count, own in sets.items():
            groups[count] += [f for templates in own for f in ask(localizer, count, query, templates)]
        progress(name)
    progress(f"left out, as a lung is cut or collapsed: {', '.join(left_out) or 'none'}")
    most = str(len(chosen))
    tables = [
        answers_table(f"lungs of body2, templates {', '.join(scan.name for scan in chosen)}", groups[most]),
        boxes_table("by number of templates", groups, LUNGS),
        status_table("statuses", groups),
    ]
    document: dict[str, Any] = {
        "localizer": localizer.signature,
        "templates": [scan.name for scan in chosen],
        "left_out": left_out,
        "by_count": {way: {"boxes": box_figures(own), **reliability(own)} for way, own in groups.items()},
        "answers": [f.to_dict() for own in groups.values() for f in own],
    }
    answer(tables, document, arguments.json)


if __name__ == "__main__":
    command(main)
