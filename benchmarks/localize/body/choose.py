"""Faces of organs in training scans: the table that choices for the body are made on.

    python benchmarks/localize/body/choose.py [--localizer FILE] [--ways default,votes,...] [--by-organ] [--by-scan]

The template patients of `bodyval` are located in 18 scans of `body/` and `body2/` of which somebody marked single faces
(`configs/trials/body/faces.json`: organs that a scan cuts off have faces, too), with the templates of other patients.
Neither the query patients of `bodyval` nor their labels take part. Printed are the distance of located from marked
faces, mean over scans ± standard deviation, along each axis and by structure, and the share of faces that are more than
25 mm off. No status is asked: every box counts. About a minute for each localizer on one core.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.common import SeenOnce, answer, command, options
from benchmarks.localize.search import WAYS
from medlsam.io.read import read_image
from medlsam.localize.build_templates import build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.options import LocateOptions
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.volume import Image

FACES = Path("configs/trials/body/faces.json")
STRUCTURES = ("kidney_left", "kidney_right", "spleen", "liver")
#: Scans that are called otherwise than their patient, and the patient.
PATIENTS = ("hcc_005", "hcc_007", "hcc_009", "acrin_flt_breast_001", "ctc_0518")
FAR_MM = 25.0
#: Scan and structure to (6,) distances, mm; nan where no face was marked.
Errors = Mapping[tuple[str, str], NDArray[np.float64]]


def patient(scan: str) -> str:
    """The patient of a scan, by its name."""
    return next((name for name in PATIENTS if scan.startswith(name)), scan)


def others(templates: TemplateSet, scan: str) -> TemplateSet:
    """The templates of other patients than the scan's."""
    for name in templates.template_names:
        if patient(name) == patient(scan):
            templates = templates.without(name)
    return templates


def marked_faces() -> dict[str, dict[str, list[float | None]]]:
    """Scan to structure to its six faces, LPS mm; None where a face was not marked."""
    faces: dict[str, dict[str, list[float | None]]] = json.loads(FACES.read_text(encoding="utf-8"))["faces"]
    return faces


def read_marked(ct: Path) -> dict[str, Image]:
    """The scans that have marked faces, by name."""
    folders = {
        scan: next(ct / room / scan for room in ("body", "body2") if (ct / room / scan).is_dir())
        for scan in marked_faces()
    }
    return {scan: read_image(folder / "image.nii.gz") for scan, folder in folders.items()}


def errors(localizer: SeenOnce, ct: Path, images: Mapping[str, Image], way: str) -> Errors:
    """Locate the structures in all scans that have marked faces, by one way of searching."""
    cases, names = choose_templates(ct / "bodyval" / "templates")
    templates = build_templates(localizer, read_templates(cases, names), names, calibrate=False)  # type: ignore[arg-type]
    search, constants = WAYS[way]
    found = {}
    for scan, faces in marked_faces().items():
        known = others(templates, scan)
        wanted = [name for name in STRUCTURES if name in faces and name in known.structures]
        located = locate(
            localizer.embed(images[scan]),
            known.select(wanted),
            LocateOptions(search=search),
            search_options=constants,
        )
        for name in wanted:
            truth = np.array([np.nan if face is None else face for face in faces[name]])
            box = located[name].box
            assert box is not None, "every structure that is searched for has a box"
            found[scan, name] = np.abs(box.faces - truth)
    return found


def to_json(found: Errors) -> dict[str, list[float | None]]:
    """The distances as JSON can hold them, which knows no nan: faces that nobody marked are null."""
    return {
        f"{scan}, {structure}": [None if np.isnan(face) else round(float(face), 2) for face in own]
        for (scan, structure), own in found.items()
    }


def row(found: Errors, structure: str | None = None, of_scan: str | None = None) -> list[str]:
    """Cells: faces, mean over scans ± standard deviation, along x, y and z, and the share that is far off."""
    by_scan = defaultdict(list)
    for (scan, name), own in found.items():
        if structure in (None, name) and of_scan in (None, scan):
            by_scan[patient(scan)].append(own)
    every = np.concatenate([np.concatenate(rows) for rows in by_scan.values()])
    means = np.array([np.nanmean(np.array(rows).reshape(-1, 3, 2), axis=(0, 2)) for rows in by_scan.values()])
    with np.errstate(invalid="ignore"):
        all_axes = np.array([np.nanmean(np.array(rows)) for rows in by_scan.values()])
    cells = [str(np.isfinite(every).sum()), f"{np.nanmean(all_axes):.1f} ±{np.nanstd(all_axes):.1f}"]
    cells += [f"{np.nanmean(means[:, axis]):.1f}" for axis in range(3)]
    return [
        *cells,
        f"{np.nanmedian(every):.1f}",
        f"{100 * np.nanmean(every[np.isfinite(every)] > FAR_MM):.0f} %",
    ]


def table(by_name: Mapping[str, Errors], structures: Sequence[str], scans: Mapping[str, str]) -> Table:
    """One line for each localizer and way, then one for each structure, and for each scan under its title."""
    made = Table(title="located against marked faces, mm; mean over patients", box=SIMPLE_HEAD)
    for head in ("", "faces", "mean", "x", "y", "z", "median", f"over {FAR_MM:g} mm"):
        made.add_column(head, justify="right" if head else "left")
    for name, found in by_name.items():
        made.add_row(name, *row(found))
        for structure in structures:
            made.add_row(f"  {structure}", *row(found, structure))
        for scan, title in scans.items():
            made.add_row(f"  {title}", *row(found, of_scan=scan))
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--ways", default="default", help=f"of {', '.join(WAYS)}")
    parser.add_argument("--by-organ", action="store_true")
    parser.add_argument("--by-scan", action="store_true", help="each scan with its length along z")
    arguments = parser.parse_args()
    localizer = SeenOnce(load_localizer(arguments.localizer, arguments.device))
    images = read_marked(arguments.ct)
    found = {
        f"{localizer.name}, {way}": errors(localizer, arguments.ct, images, way)
        for way in arguments.ways.split(",")
    }
    document = {name: to_json(by) for name, by in found.items()}
    lengths = {scan: f"{scan}, {image.grid.box.size[2]:.0f} mm long" for scan, image in images.items()}
    shown = table(found, STRUCTURES if arguments.by_organ else (), lengths if arguments.by_scan else {})
    answer([shown], document, arguments.json)


if __name__ == "__main__":
    command(main)
