"""TotalSegmentator: a folder for each scan, with a mask file for each structure.

``s0001/ct.nii.gz``, ``s0001/segmentations/<structure>.nii.gz`` and ``meta.csv``, which has the split.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import MaskMerger, numbered
from medlsam.data.nifti_pairs import read_labels, read_scan
from medlsam.data.source import FoundCases, RawCase, RawScan, Split
from medlsam.errors import DatasetError
from medlsam.io.checks import check_same_grid

_CT = r"(s\d{4})/ct\.nii\.gz"
_MASK = r"(s\d{4})/segmentations/([^/]+)\.nii\.gz"


def find(files: SourceFiles) -> FoundCases:
    """The scans of the data set; its structures are the names of all mask files, sorted.

    Raises:
        DatasetError: a scan lies there twice.
    """
    masks: dict[str, dict[str, str]] = {}
    for found in files.matching(_MASK):
        masks.setdefault(str(PurePosixPath(found.string).parent.parent), {})[found[2]] = found.string
    names = numbered(sorted({name for own in masks.values() for name in own}))
    splits = _splits(files)
    cases: dict[str, RawCase] = {}
    for found in files.matching(_CT):
        number, own = found[1], masks.get(str(PurePosixPath(found.string).parent), {})
        if number in cases:
            raise DatasetError(f"{files.root}: {number} lies there twice; give one copy only")
        read = partial(_read, files, found.string, own, names)
        cases[number] = RawCase(number, splits.get(number, "train"), read, bool(own))
    return FoundCases(names, tuple(cases.values()))


def _splits(files: SourceFiles) -> dict[str, Split]:
    tables = files.matching(r"meta\.csv")
    if not tables:
        return {}
    text = files.text(tables[0].string)
    # Published with semicolons; spreadsheets write commas.
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.splitlines()[0] else ",")
    known: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}
    return {
        row["image_id"]: known[row["split"]]
        for row in rows
        if row.get("image_id") and row.get("split") in known
    }


def _read(files: SourceFiles, scan: str, masks: Mapping[str, str], names: Mapping[int, str]) -> RawScan:
    image = read_scan(files, scan)
    if not masks:
        return RawScan(image)
    merger = MaskMerger(image.grid, names)
    for name, file in sorted(masks.items()):
        mask = read_labels(files, file)
        check_same_grid(image, mask)
        merger.add(name, mask.array != 0)
    return RawScan(image, merger.labels, merger.empty, merger.notes)
