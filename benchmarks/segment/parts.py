"""Dice of structures in several parts under one label: both kidneys, both lungs, all ribs; and the rami of a jaw.

    python benchmarks/segment/parts.py [--sets kidneys,lungs,...] [--json FILE]

Labels of pairs are joined into one, so that templates and truth show several parts. Each scan is located with templates
of other patients and segmented in the located box and in the true one, in three ways: the largest component of one box
for each slice (`one box, largest`), as many components as the templates show of the same boxes (`one box, parts`), and
a box for each part (`box a part`, the default). Then in the true boxes of every slice: one around all, one for each
part, and one for each region that is connected within the slice, which also splits the rami of a jaw. Mean ± standard
deviation over scans. Phantoms are persons 11 to 13 with persons 1 to 3 as templates; kidneys are those of
`bodyval/templates` that have both, each with the others as templates; lungs are the whole ones of `body/` likewise;
jaws are of openkbp's `pretrain` split with its templates. Takes about six minutes on one core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy import ndimage

import medlsam
from benchmarks.common import answer, command, options, progress, spread
from medlsam.geometry import mask_box
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.localize.build_templates import Template, build_templates
from medlsam.measure.metrics import dice
from medlsam.options import LabelMapOptions
from medlsam.phantoms import phantom
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.prompts import structure_request
from medlsam.results import LocatedStructure
from medlsam.segment.label_map import MaskBlock, assemble
from medlsam.segment.prompts import SlicePrompt, oracle_parts, oracle_slices
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.volume import LabelMap, to_canonical

NAME = "joined"
#: Region and spacing (mm) of phantoms, and the labels that are joined.
PHANTOMS = {
    "phantom kidneys": ("abdomen", (4.0, 4.0, 3.0), ("kidney_left", "kidney_right")),
    "phantom lungs": ("thorax", (4.0, 4.0, 3.0), ("lung_left", "lung_right")),
    "phantom ribs": ("thorax", (2.5, 2.5, 3.0), ("ribs_left", "ribs_right")),
}
CHESTS = ("cmb_crc_01068", "lidc_0001", "lidc_0314", "nsclc_lung1_001")
SETS = (*PHANTOMS, "kidneys", "lungs", "mandible")
WAYS = ("one box, largest", "one box, parts", "box a part")
SLICES = ("around all", "a part", "a region")


@dataclass(frozen=True, eq=False)
class Fold:
    """Scans with one joined label: the one that is segmented, and its templates."""

    query: Template
    templates: tuple[Template, ...]


def joined(labels: LabelMap, values: Sequence[int]) -> LabelMap:
    """The labels of several values as one."""
    return LabelMap(np.isin(labels.array, values).astype(np.uint8), labels.grid, labels.source)


def phantoms(name: str) -> list[Fold]:
    """Persons 11 to 13, with persons 1 to 3 as templates."""
    region, spacing, wanted = PHANTOMS[name]
    made = {}
    for seed in (1, 2, 3, 11, 12, 13):
        own = phantom(seed, spacing, region)
        values = [value for value, label in own.names.items() if label in wanted]
        made[seed] = Template(f"person {seed}", own.image, joined(own.labels, values))
    return [Fold(made[seed], (made[1], made[2], made[3])) for seed in (11, 12, 13)]


def leave_one_out(scans: Sequence[Template]) -> list[Fold]:
    return [Fold(scan, tuple(other for other in scans if other is not scan)) for scan in scans]


def kidneys(ct: Path) -> list[Fold]:
    """The template scans of ``bodyval`` that hold both kidneys: its other patients are to report on."""
    folder, scans = ct / "bodyval" / "templates", []
    names = json.loads((folder / "dataset.json").read_text())["labels"]
    values = [value for name, value in names.items() if "kidney" in name]
    for path in sorted((folder / "labelsTr").glob("*.nii.gz")):
        labels, case = read_label_map(path), path.name.removesuffix(".nii.gz")
        if np.isin(values, labels.array).all():
            image = read_image(folder / "imagesTr" / f"{case}_0000.nii.gz")
            scans.append(Template(case, image, joined(labels, values)))
    return leave_one_out(scans)


def lungs(ct: Path) -> list[Fold]:
    """The chests of ``body`` with both lungs whole."""
    scans = []
    for case in CHESTS:
        folder = ct / "body" / case
        labels = joined(read_label_map(folder / "labels.nii.gz"), (1, 2))
        scans.append(Template(case, read_image(folder / "image.nii.gz"), labels))
    return leave_one_out(scans)


def mandible(ct: Path) -> list[Fold]:
    """Eight of the last patients of openkbp's ``pretrain`` split: jaws in one part, whose rami are two in a slice."""
    root = ct / "openkbp"
    value = json.loads((root / "dataset.json").read_text())["labels"]["Mandible"]
    whole = json.loads((root / "cases.json").read_text())["cases"]
    last = json.loads((root / "splits.json").read_text())["pretrain"][-30:]
    cases = [name for name in last if "Mandible" in whole[name]["complete"]][:8]

    def scan(folder: Path, case: str) -> Template:
        labels = joined(read_label_map(folder / "labelsTr" / f"{case}.nii.gz"), (value,))
        return Template(case, read_image(folder / "imagesTr" / f"{case}_0000.nii.gz"), labels)

    names = sorted(path.name[:-7] for path in (root / "templates" / "labelsTr").glob("*.nii.gz"))
    templates = tuple(scan(root / "templates", name) for name in names)
    return [Fold(scan(root, case), templates) for case in cases]


def region_slices(mask: NDArray[np.bool_]) -> list[SlicePrompt]:
    """The tight box of every region (8 neighbours, three pixels or more) of every slice of a mask."""
    found = []
    for z in np.flatnonzero(mask.any(axis=(1, 2))):
        numbered, count = ndimage.label(mask[z], np.ones((3, 3)))
        for number in range(1, count + 1):
            if (numbered == number).sum() >= 3:
                (own,) = oracle_slices((numbered == number)[None], (int(z), 0, 0))
                found.append(replace(own, part=number - 1))
    return found


def score(model: MedLSAM, fold: Fold) -> dict[str, Any]:
    """Dice of every way, and how many parts templates and truth have."""
    templates = build_templates(model.localizer, fold.templates, {1: NAME}, calibrate=len(fold.templates) > 1)
    query = fold.query
    assert query.labels is not None
    located = model.localize(query.image, templates, case=query.name).structures[NAME]
    image, truth = to_canonical(query.image), to_canonical(query.labels).array == 1
    box = mask_box(truth, image.grid)
    requests: dict[str, SegmentationRequest] = {}
    for where, structure in (
        ("located", located),
        ("true box", replace(located, status="found", box=box, located_box=box)),
    ):
        if structure.box is None:
            continue
        alone = replace(structure, part_shapes=())
        for way, own in zip(WAYS, (alone, alone, structure), strict=True):
            requests[f"{where}: {way}"] = structure_request(own, image.grid)
    for way, prompts in zip(
        SLICES,
        (oracle_slices(truth), oracle_parts(truth, len(truth)), region_slices(truth)),
        strict=True,
    ):
        requests[f"true slices: {way}"] = SegmentationRequest(prompts)
    blocks = segment_requests(model.segmenter, image, requests)
    figures = {name: measure(name, block, truth, located) for name, block in blocks.items()}
    counts = [own.parts for own in templates.by_structure[NAME]]
    return {"case": query.name, "status": located.status, "templates": counts, **figures}


def measure(name: str, block: MaskBlock, truth: NDArray[np.bool_], located: LocatedStructure) -> float:
    """Dice of a structure's answer, with the components that its way keeps."""
    kept = "all" if name.startswith("true slices") else "largest" if "largest" in name else "templates"
    how = LabelMapOptions(components=kept)
    labels = assemble({NAME: block}, {NAME: 1}, truth.shape, how, {NAME: located.parts})
    return dice(labels == 1, truth)


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """One line for each set and kind of box."""
    made = Table(title="Dice of structures in several parts", caption="mean ± standard deviation over scans")
    for head in (
        "set",
        "n",
        "boxes",
        "one box, largest | around all",
        "one box, parts",
        "box a part",
        "a region",
    ):
        made.add_column(head)
    for name, rows in found.items():
        for where in ("located", "true box", "true slices"):
            ways = SLICES if where == "true slices" else WAYS
            own = [[row[f"{where}: {way}"] for row in rows if f"{where}: {way}" in row] for way in ways]
            first, second, third = (spread(values, 3) for values in own)
            cells = (first, "", second, third) if where == "true slices" else (first, second, third, "")
            made.add_row(name, str(len(own[0])), where, *cells)
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--segmenter", default="sam-tiny", help="a known name or a weights file")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated (%(default)s)")
    arguments = parser.parse_args()
    chosen = arguments.sets.split(",")
    if unknown := [name for name in chosen if name not in SETS]:
        parser.error(f"unknown set {unknown[0]!r}; there are: {', '.join(SETS)}")
    model = medlsam.load(
        localizer=arguments.localizer, segmenter=arguments.segmenter, device=arguments.device
    )
    real = {"kidneys": kidneys, "lungs": lungs, "mandible": mandible}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in chosen:
        folds = phantoms(name) if name in PHANTOMS else real[name](arguments.ct)
        found[name] = []
        for fold in folds:
            found[name].append(score(model, fold))
            progress(f"{name}: {found[name][-1]}")
    answer([table(found)], found, arguments.json)


if __name__ == "__main__":
    command(main)
