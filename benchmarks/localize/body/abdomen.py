"""One abdomen as the only template, located in a slab of another and in abdomens that nobody labelled.

    python benchmarks/localize/body/abdomen.py [--output DIR] [--json FILE]

`ts_example_ct` (a model's labels of 61 structures) is the template. In `ts_example_dicom`, a slab of 40 mm that cuts
every structure, the located boxes are cut to what was scanned and compared with the labels; printed are IoU, wall
distance and status of each structure that both have, then the statuses of the structures that lie in the pelvis,
far below the slab. For the abdomens without labels the statuses are printed. With `--output` pictures are written: per
scan `<scan>.png` (located boxes on two projections) and `<scan>_organs.png` (three planes through some structures, with
the slab's labels dashed). With one template nothing is calibrated: margins and thresholds are the stated defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce, answer, command, held, in_view, options, progress, spread
from benchmarks.localize.status.absent import ABDOMEN_TEMPLATE, PELVIC
from benchmarks.localize.status.answers import STATUSES
from medlsam.export.figures import draw_localization, draw_segmentation, png
from medlsam.geometry import mask_box
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import box_iou, wall_distance
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.runtime.atomic_files import atomic_path
from medlsam.volume import Image, LabelMap, Source

SLAB = "ts_example_dicom"
UNLABELLED = ("crlm_1004", "crlm_1006", "acrin_flt_breast_001_b")
#: What the pictures show; all structures would hide one another.
SHOWN = (
    "liver", "spleen", "kidney_left", "kidney_right", "pancreas", "gallbladder", "aorta", "vertebrae_L1",
    "vertebrae_L4", "urinary_bladder", "sacrum", "hip_left",
)  # fmt: skip
IN_PLANES = ("liver", "spleen", "kidney_left", "kidney_right", "aorta", "urinary_bladder")


def compare(
    found: Mapping[str, LocatedStructure], template: Template, names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Per structure that is labelled in a scan: status, and IoU and wall distance of what was scanned of its box.

    Args:
        found: located structures.
        template: the labelled scan.
        names: value to structure.
    """
    assert template.labels is not None, "a scan with labels"
    view = template.image.grid.box
    rows = []
    for value, name in names.items():
        if name not in found or not (mask := template.labels.array == value).any():
            continue
        truth, box = mask_box(mask, template.labels.grid), in_view(found[name].box, view)
        rows.append(
            {
                "organ": name,
                "status": found[name].status,
                "confidence": round(found[name].confidence, 4),
                "iou": round(box_iou(box, truth), 4),
                "wall_mm": None if box is None else round(wall_distance(box, truth), 2),
            }
        )
    return rows


def statuses(found: Mapping[str, LocatedStructure], organs: Sequence[str]) -> dict[str, list[str]]:
    """Status to the structures that have it."""
    return {status: [name for name in organs if found[name].status == status] for status in STATUSES}


def pictures(
    output: Path,
    scan: str,
    volume: Image,
    found: Mapping[str, LocatedStructure],
    templates: TemplateSet,
    reference: LabelMap | None = None,
) -> list[Path]:
    """Write the two pictures of a scan; the second only where one of its structures was found.

    Args:
        output: folder.
        scan: name of the scan.
        volume: the scan, HU.
        found: located structures.
        templates: what was looked for, for its label values.
        reference: label map in the same values, drawn dashed.
    """
    structures = {name: found[name] for name in SHOWN if name in found}
    localization = Localization(scan, structures, volume)
    written = {f"{scan}.png": draw_localization(localization)}
    drawn = [name for name in IN_PLANES if name in structures and structures[name].present]
    if drawn:
        empty = LabelMap(np.zeros(volume.array.shape, np.uint8), volume.grid)
        values = {templates.values[name]: name for name in structures}
        segmentation = Segmentation(scan, empty, values, localization, image=volume)
        written[f"{scan}_organs.png"] = draw_segmentation(segmentation, organs=drawn, reference=reference)
    for name, figure in written.items():
        with atomic_path(output / name) as temporary:
            temporary.write_bytes(png(figure))
    return [output / name for name in written]


def tables(
    slab: Sequence[Mapping[str, Any]], by_scan: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[Table]:
    """The slab by structure, and the statuses by scan."""
    table = Table(
        title=f"{SLAB} with {ABDOMEN_TEMPLATE} as the only template",
        caption="boxes cut to the slab of 40 mm; mean ± standard deviation over structures",
        box=SIMPLE_HEAD,
    )
    for head in ("structure", "status", "confidence", "box IoU", "wall mm"):
        table.add_column(head, justify="left" if head in ("structure", "status") else "right")
    for row in slab:
        wall = "–" if row["wall_mm"] is None else f"{row['wall_mm']:.1f}"
        table.add_row(row["organ"], row["status"], f"{row['confidence']:.2f}", f"{row['iou']:.2f}", wall)
    table.add_section()
    walls = [float("nan") if row["wall_mm"] is None else row["wall_mm"] for row in slab]
    mean = spread([row["iou"] for row in slab])
    table.add_row(f"mean of {len(slab)}", "", "", mean, spread(walls, 1), style="bold")
    counts = Table(title="statuses", box=SIMPLE_HEAD)
    for head in ("scan", *STATUSES):
        counts.add_column(head, justify="left" if head == "scan" else "right")
    for scan, own in by_scan.items():
        counts.add_row(scan, *(str(len(own[status])) for status in STATUSES))
    return [table, counts]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write pictures there")
    arguments = parser.parse_args()
    body = arguments.ct / "body"
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    cases, names = choose_templates(body, [ABDOMEN_TEMPLATE, SLAB])
    template, slab = read_templates(cases, names)
    templates = build_templates(localizer, [template], names)  # type: ignore[arg-type]
    found = locate(localizer.embed(slab.image), templates)
    rows = compare(found, slab, names)
    there = [name for name in templates.structures if name in held([slab], names)]
    below = [name for name in PELVIC if name in templates.structures]
    by_scan = {
        f"{SLAB}, labelled there": statuses(found, there),
        f"{SLAB}, in the pelvis": statuses(found, below),
    }
    if arguments.output:
        pictures(arguments.output, SLAB, slab.image, found, templates, slab.labels)
    for scan in UNLABELLED:
        volume = replace(read_image(body / scan / "image.nii.gz"), source=Source(Path(scan)))
        located = locate(localizer.embed(volume), templates)
        by_scan[scan] = statuses(located, templates.structures)
        if arguments.output:
            pictures(arguments.output, scan, volume, located, templates)
        progress(scan)
    document = {"localizer": localizer.signature, "slab": rows, "statuses": by_scan}
    answer(tables(rows, by_scan), document, arguments.json)


if __name__ == "__main__":
    command(main)
