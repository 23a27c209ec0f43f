"""Patients with labelled abdominal organs, draws of templates among them, and the answers of a search, scored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.common import SeenOnce
from medlsam.evaluation.reliability import NOT_THERE
from medlsam.geometry import Box, mask_box
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import box_iou
from medlsam.pipeline.templates import choose_templates, read_templates
from medlsam.results import LocatedStructure
from medlsam.volume import LabelMap

#: A located box whose centre is farther from the true one is somewhere else.
FAR_MM = 25.0


@dataclass(frozen=True, eq=False)
class Patient:
    """One labelled scan.

    Attributes:
        name: of the scan.
        scan: image and label map; the map holds only structures that lie whole in the scan.
        boxes: structure to its true box, LPS mm.
        cut: structures that the scan cuts off.
        path: of the image.
        labels: folder of its label map.
    """

    name: str
    scan: Template
    boxes: Mapping[str, Box]
    cut: tuple[str, ...]
    path: Path
    labels: Path


@dataclass(frozen=True)
class Finding:
    """What was answered about one structure of one scan with one set of templates.

    Attributes:
        way: the trial that it belongs to.
        query: the scan.
        structure: the structure.
        templates: names of the template scans that have the structure.
        calibrated: whether the set could be tried on itself.
        status: of the answer.
        confidence: of the answer.
        cut: whether the scan cuts the structure off; then there is no true box and all that follows is empty or nan.
        iou: of the box, whatever its status.
        faces_mm: located minus true face (x-, x+, y-, y+, z-, z+).
        margins_mm: promised per face.
        center_mm: distance of the centres.
    """

    way: str
    query: str
    structure: str
    templates: tuple[str, ...]
    calibrated: bool
    status: str
    confidence: float
    cut: bool
    iou: float = math.nan
    faces_mm: tuple[float, ...] = ()
    margins_mm: tuple[float, ...] = ()
    center_mm: float = math.nan

    @property
    def given(self) -> bool:
        """Whether the answer gives a box to segment in."""
        return self.status not in NOT_THERE

    @property
    def scored_iou(self) -> float:
        """The IoU as `medlsam evaluate` counts it: 0 where no box is given."""
        return self.iou if self.given else 0.0

    @property
    def wall_mm(self) -> float:
        """Mean absolute error of the faces; nan where the scan cuts the structure off."""
        return float(np.abs(self.faces_mm).mean()) if self.faces_mm else math.nan

    def to_dict(self) -> dict[str, Any]:
        """As the JSON file holds it: None for what has no value."""
        entry = asdict(self)
        return {key: None if value != value else value for key, value in entry.items()}


def read_patients(folder: Path) -> tuple[list[Patient], dict[int, str]]:
    """The labelled scans of a folder (nnU-Net layout with ``cases.json``), and what the label values mean."""
    found, names = choose_templates(folder)
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))["cases"]
    patients = []
    for case, template in zip(found, read_templates(found, names), strict=True):
        assert template.labels is not None, "a scan with labels"
        masks = {
            name: template.labels.array == value
            for value, name in names.items()
            if name in cases[case.name]["complete"]
        }
        boxes = {name: mask_box(mask, template.labels.grid) for name, mask in masks.items()}
        cut = tuple(cases[case.name].get("truncated", ()))
        patients.append(Patient(case.name, template, boxes, cut, case.image, folder / "labelsTr"))
    return patients, names


def draws(able: Sequence[str], count: int, most: int, seed: str) -> list[tuple[str, ...]]:
    """Different subsets of some scans, all of one size; none where there are too few scans.

    Args:
        able: scans to choose from.
        count: scans in a subset.
        most: at most so many subsets, drawn at random; all where there are no more.
        seed: any text; the same text draws the same.
    """
    subsets = list(combinations(able, count))
    if len(subsets) > most:
        picked = np.random.default_rng(crc32(seed.encode())).choice(len(subsets), most, replace=False)
        subsets = [subsets[int(place)] for place in sorted(picked)]
    return subsets


def score(
    way: str, patient: Patient, structure: str, answered: LocatedStructure, templates: TemplateSet
) -> Finding:
    """An answer beside the truth.

    Args:
        way: the trial that it belongs to.
        patient: the query; the structure is one of its boxes or cut off.
        structure: the structure.
        answered: the answer.
        templates: that it was found with.
    """
    calibration = templates.calibration.get(structure)
    said = (
        way,
        patient.name,
        structure,
        tuple(s.template for s in templates.by_structure[structure]),
        calibration is not None and calibration.n > 0,
        answered.status,
        round(answered.confidence, 4),
    )
    if structure not in patient.boxes:
        return Finding(*said, cut=True)
    truth = patient.boxes[structure]
    if answered.box is None or answered.prompt_box is None:
        return Finding(*said, cut=False, iou=0.0)
    errors = answered.box.faces - truth.faces
    margins = np.abs(answered.prompt_box.faces - answered.box.faces)
    center = float(np.linalg.norm(np.subtract(answered.box.center, truth.center)))
    return Finding(
        *said,
        cut=False,
        iou=round(box_iou(answered.box, truth), 4),
        faces_mm=tuple(round(float(e), 2) for e in errors),
        margins_mm=tuple(round(float(m), 2) for m in margins),
        center_mm=round(center, 2),
    )


def ask(
    localizer: SeenOnce, way: str, patient: Patient, templates: TemplateSet, structures: Sequence[str] = ()
) -> list[Finding]:
    """Locate what the templates have and the query is known to have, whole or cut.

    Args:
        localizer: finds structures.
        way: the trial that the answers belong to.
        patient: the query.
        templates: what to look for.
        structures: only these; all where empty.
    """
    known = [name for name in (*patient.boxes, *patient.cut) if not structures or name in structures]
    asked = [name for name in templates.structures if name in known]
    if not asked:
        return []
    found = locate(localizer.embed(patient.scan.image), templates.select(asked))
    return [score(way, patient, name, found[name], templates) for name in asked]


def only(scan: Template, value: int) -> Template:
    """A template scan with one of its labels (the image is the same, so it is not embedded anew)."""
    assert scan.labels is not None, "a scan with labels"
    array = np.where(scan.labels.array == value, scan.labels.array, 0)
    return Template(scan.name, scan.image, LabelMap(array, scan.labels.grid, scan.labels.source))


def leave_one_out(
    localizer: SeenOnce,
    patients: Sequence[Patient],
    names: Mapping[int, str],
    counts: Sequence[int],
    most: int,
) -> list[Finding]:
    """Every scan with all others as templates, and every structure with draws of some of the others that have it.

    Args:
        localizer: finds structures.
        patients: scans of different patients.
        names: value to structure.
        counts: numbers of templates to draw; a structure that fewer others have is left out of a number.
        most: draws of each number, for each structure of each scan.
    """
    cut_out = {
        (patient.name, name): only(patient.scan, value)
        for patient in patients
        for value, name in names.items()
        if name in patient.boxes
    }
    built: dict[tuple[str, tuple[str, ...]], TemplateSet] = {}
    findings = []
    for query in patients:
        others = [patient for patient in patients if patient is not query]
        everything = build_templates(localizer, [other.scan for other in others], names)  # type: ignore[arg-type]
        findings += ask(localizer, "all", query, everything)
        for structure in (*query.boxes, *query.cut):
            able = [other.name for other in others if structure in other.boxes]
            for count in counts:
                for chosen in draws(able, count, most, f"{query.name} {structure} {count}"):
                    key = structure, chosen
                    if key not in built:
                        scans = [cut_out[name, structure] for name in chosen]
                        built[key] = build_templates(localizer, scans, names)  # type: ignore[arg-type]
                    findings += ask(localizer, str(count), query, built[key])
    return findings
