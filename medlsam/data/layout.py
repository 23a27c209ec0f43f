"""An nnU-Net dataset that is written case by case: each is whole or absent, and a second run goes on.

``.cases/<case>.json`` is written last of a case, so what has one is done. At the end the tables of all cases are made
from them: ``dataset.json`` for nnU-Net, ``cases.json`` with the structures that lie wholly in each scan (for
``medlsam evaluate``), and ``splits.json`` with the source's own splits. Where a source tells single lesions apart,
``lesions.csv`` has a row for each, and ``instancesTr`` (``instancesTs``) their masks in the numbers of these rows: a
label map holds classes, and lesions of one class that touch are one region in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.data.lesion_table import write_lesion_table
from medlsam.data.source import DataSource, FoundCases, RawCase, RawScan
from medlsam.errors import DatasetError, VolumeError
from medlsam.io.checks import check_same_grid
from medlsam.io.label_names import read_json
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.volume.volume import Image, LabelMap

#: Where the masks of single lesions lie: of scans with labels, and of others.
INSTANCE_FOLDERS = ("instancesTr", "instancesTs")
_ROWS = ".cases"


class EmptyLabelsError(VolumeError):
    """A label map of the source has no structure, so the scan is of no use beside the others."""


@dataclass(frozen=True)
class DatasetFolder:
    """Where the files of a dataset go.

    Attributes:
        path: ``Dataset###_<Name>``.
        names: value to structure.
    """

    path: Path
    names: Mapping[int, str]

    def files(self, case: RawCase) -> tuple[Path, Path | None]:
        """The scan and the label map of a case."""
        scans = "imagesTr" if case.labelled else "imagesTs"
        labels = self.path / "labelsTr" / f"{case.name}.nii.gz" if case.labelled else None
        return self.path / scans / f"{case.name}_0000.nii.gz", labels

    def instances(self, case: RawCase) -> Path:
        """The masks of a case's single lesions, where its source has any."""
        return self.path / INSTANCE_FOLDERS[not case.labelled] / f"{case.name}.nii.gz"

    def row(self, name: str) -> Path:
        """The file that says that a case is done."""
        return self.path / _ROWS / f"{name}.json"

    def is_done(self, case: RawCase) -> bool:
        """Whether a case was written before, with the values that structures have now."""
        row = self.row(case.name)
        if not row.is_file() or not all(file.is_file() for file in self.files(case) if file is not None):
            return False
        values = {name: value for value, name in self.names.items()}
        content = read_json(row, DatasetError)
        if content.get("instances") and not self.instances(case).is_file():
            return False
        told = content.get("values")
        return isinstance(told, dict) and all(values.get(name) == value for name, value in told.items())


def write_case(dataset: DatasetFolder, case: RawCase, scan: RawScan) -> None:
    """Write a case; nothing of it stays where that fails.

    The scan is read again as any scan is, so what a source turned out not to be (CT in HU, a regular volume) is
    refused, and what was written is what was read.

    Raises:
        EmptyLabelsError: no structure is labelled.
        VolumeError: not CT in HU; cannot be written.
        GeometryError: the label map does not lie on the scan's grid.
    """
    image_file, label_file = dataset.files(case)
    instance_file = dataset.instances(case) if scan.instances is not None else None
    facts: dict[str, Any] = {"values": {}}
    if (scan.labels is None) != (label_file is None):
        raise VolumeError(f"{scan.image.path}: the labels of the case are missing")
    if scan.labels is not None:
        check_same_grid(scan.image, scan.labels)
        facts = _structures(scan.labels, dataset.names)
        if not facts["values"]:
            raise EmptyLabelsError(f"{scan.image.path}: no structure is labelled")
    if scan.instances is not None:
        check_same_grid(scan.image, scan.instances)
    try:
        write_volume(scan.image, image_file)
        again = read_image(image_file)
        if not again.grid.matches(scan.image.grid, 1e-3) or not _same(again, scan.image):
            raise VolumeError(
                f"{image_file}: what was written does not read back as it was; is the disk sound?"
            )
        if scan.labels is not None and label_file is not None:
            write_volume(LabelMap(scan.labels.array, scan.image.grid), label_file)
        if scan.instances is not None and instance_file is not None:
            write_volume(LabelMap(scan.instances.array, scan.image.grid), instance_file)
        row = facts | {
            "split": case.split,
            "labelled": case.labelled,
            "absent": list(scan.absent),
            "notes": list(scan.notes),
            "facts": dict(scan.facts),
            "lesions": [dict(row) for row in scan.lesions],
            "instances": scan.instances is not None,
            "shape_zyx": list(scan.image.grid.shape_zyx),
            "spacing_xyz_mm": [round(edge, 6) for edge in scan.image.grid.spacing_xyz],
        }
        write_json(dataset.row(case.name), row)
    except BaseException:
        for file in (image_file, label_file, instance_file):
            if file is not None:
                file.unlink(missing_ok=True)
        raise


def write_tables(dataset: DatasetFolder, source: DataSource, found: FoundCases) -> None:
    """Write ``dataset.json``, ``cases.json``, ``splits.json`` and ``lesions.csv`` from the cases that are done."""
    rows = {
        case.name: read_json(dataset.row(case.name), DatasetError)
        for case in sorted(found.cases, key=lambda case: case.name)
        if dataset.is_done(case)
    }
    labelled = {name: row for name, row in rows.items() if row["labelled"]}
    write_json(
        dataset.path / "dataset.json",
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0} | {name: value for value, name in sorted(dataset.names.items())},
            "numTraining": len(labelled),
            "file_ending": ".nii.gz",
            "name": source.title,
            "description": source.contents,
            "reference": f"{source.citation}; {source.homepage}",
            "licence": f"{source.licence}; {source.licence_url}",
        },
    )
    keys = ("complete", "truncated", "absent", "shape_zyx", "spacing_xyz_mm", "notes")
    cases = {
        name: {key: row[key] for key in keys if row.get(key)} | row.get("facts", {})
        for name, row in labelled.items()
    }
    if labelled:
        for case in cases.values():
            case.setdefault("complete", [])
        write_json(
            dataset.path / "cases.json",
            {"labels": {str(value): name for value, name in sorted(dataset.names.items())}, "cases": cases},
        )
    lesions = {name: row["lesions"] for name, row in rows.items() if row.get("lesions")}
    if lesions:
        write_lesion_table(dataset.path / "lesions.csv", lesions)
    splits = {
        split: [n for n, row in rows.items() if row["split"] == split] for split in ("train", "val", "test")
    }
    write_json(dataset.path / "splits.json", {split: names for split, names in splits.items() if names})


def _structures(labels: LabelMap, names: Mapping[int, str]) -> dict[str, Any]:
    """Which structures are there, and which of them reach the scan's edge and may go on outside."""
    array = labels.array
    sides = (array[0], array[-1], array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1])
    at_edge = {int(value) for side in sides for value in np.unique(side)}
    there = [int(value) for value in np.unique(array) if value]
    return {
        "values": {names[value]: value for value in there},
        "complete": [names[value] for value in there if value not in at_edge],
        "truncated": [names[value] for value in there if value in at_edge],
    }


def _same(one: Image, other: Image) -> bool:
    # Padding below -1024 is raised when a scan is read.
    return bool(np.array_equal(one.array, np.maximum(other.array, LOWEST_HU)))
