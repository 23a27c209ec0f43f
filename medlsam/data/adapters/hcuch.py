"""HCUCH: CT with a mask of every tumour, metastasis and enlarged lymph node, one value a lesion.

``images/<abdomen|thorax>/<train|test>/{images,masks,labels}/<patient>_<series UID>.{nii.gz,json}``, as the Zenodo
record has it: ``masks`` hold a value for each lesion, ``labels`` say what it is (``{"1": "m,liver"}``: ``t``
primary tumour, ``m`` metastasis, ``n`` lymph node, then organ or region). ``metadata/windows_mapping.json`` says in
which window of HU a series is meant to be seen.

Classes are the types (or, for ``of_site``, the tumours of one organ, as the paper trains nnU-Net on lung and on
liver): sites are many, and all but these two share few lesions. The single lesions stay in ``instancesTr`` under
the values of the source, ``recist_measurements.csv`` names them by these, and ``lesions.csv`` has type and site of
each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.lesion_table import instance_rows
from medlsam.data.nifti_pairs import read_labels, read_scan
from medlsam.data.source import FoundCases, LesionRow, RawCase, RawScan, Split, failing_case
from medlsam.errors import DatasetError, VolumeError
from medlsam.io.label_names import read_windows_mapping
from medlsam.volume.volume import LabelMap
from medlsam.windows import Window

#: The code of a type to its class, in the order of the values.
TYPES = {"t": "primary_tumor", "m": "metastasis", "n": "lymph_node"}
_SCAN = r"(?i:(abdomen|thorax)/(train|test)/images)/(([0-9]+)_[^/]+?)(\.nii(?:\.gz)?)"


def find(files: SourceFiles) -> FoundCases:
    """The series of the data set; classes are the types of lesions. One whose labels cannot be read fails by itself.

    Raises:
        DatasetError: a series lies there twice.
        UsageError: ``windows_mapping.json`` names a window that is unknown.
    """
    return _find(files, numbered(TYPES.values()), None)


def of_site(files: SourceFiles, site: str) -> FoundCases:
    """The series with a tumour of one organ, primary or metastasis, as one class; other lesions are background.

    Args:
        files: of the source.
        site: as ``labels`` write it: ``lung``, ``liver``.

    Raises:
        DatasetError: a series lies there twice.
    """
    return _find(files, numbered([f"{site}_tumor"]), site)


def _find(files: SourceFiles, names: Mapping[int, str], site: str | None) -> FoundCases:
    windows = _windows(files)
    present = {name.casefold(): name for name in files.names}
    cases: dict[str, RawCase] = {}
    left_out: dict[str, str] = {}
    for found in files.matching(_SCAN):
        region, split, name, patient, ending = found.groups()
        region, split = region.lower(), _split(split.lower())
        if name in cases or name in left_out:
            raise DatasetError(f"{files.root}: {name} lies there twice; give one copy only")
        series = found.string.removesuffix(ending)
        mask = _beside(series, "masks", (".nii.gz", ".nii"), present)
        labels = _beside(series, "labels", (".json",), present)
        if mask is None or labels is None:
            left_out[name] = "without its mask or its labels"
            continue
        try:
            lesions = _lesions(files, labels)
        except DatasetError as error:
            cases[name] = failing_case(name, split, error)
            continue
        if site is not None and not any(_is_tumor_of(lesion, site) for lesion in lesions.values()):
            left_out[name] = f"without a tumour of the {site}"
            continue
        facts: dict[str, Any] = {"region": region, "patient": int(patient)}
        if window := windows.get(name):
            facts |= {"window": window.name, "window_hu": [window.low, window.high]}
        read = partial(_read, files, found.string, mask, labels, lesions, names, site, facts)
        cases[name] = RawCase(name, split, read)
    return FoundCases(names, tuple(cases.values()), left_out)


def _split(folder: str) -> Split:
    return "test" if folder == "test" else "train"


def _beside(series: str, folder: str, endings: Sequence[str], present: Mapping[str, str]) -> str | None:
    """The file of a series in a folder beside ``images``, whatever the case of the letters is."""
    place, _, name = series.rpartition("/")
    stem = f"{place.rpartition('/')[0]}/{folder}/{name}"
    found = (present.get(f"{stem}{ending}".casefold()) for ending in endings)
    return next((file for file in found if file is not None), None)


def _windows(files: SourceFiles) -> dict[str, Window]:
    tables = files.matching(r"(?i:windows_mapping\.json)")
    if not tables:
        return {}
    with files.at_hand([tables[0].string]) as folder:
        return read_windows_mapping(folder / PurePosixPath(tables[0].string).name)


def _lesions(files: SourceFiles, name: str) -> dict[int, LesionRow]:
    """Value to type and site.

    Raises:
        DatasetError: it cannot be read, or an entry of it is wrong.
    """
    try:
        table = json.loads(files.text(name))
        return {_value(value): _described(label) for value, label in table.items()}
    except (ValueError, AttributeError) as error:
        raise DatasetError(
            f'{files.describe(name)}: expected {{"1": "m,liver", ...}} with t, m or n before the comma: {error}'
        ) from error


def _value(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"{text!r} is no value of a lesion")
    return int(text)


def _described(label: str) -> LesionRow:
    code, comma, site = (part.strip().lower() for part in label.partition(","))
    if code not in TYPES or not comma or not site:
        raise ValueError(f"found {label!r}")
    return {"type": TYPES[code], "site": site}


def _is_tumor_of(lesion: LesionRow, site: str) -> bool:
    return lesion["type"] != TYPES["n"] and lesion["site"] == site


def _read(
    files: SourceFiles,
    scan: str,
    mask: str,
    labels: str,
    lesions: Mapping[int, LesionRow],
    names: Mapping[int, str],
    site: str | None,
    facts: Mapping[str, Any],
) -> RawScan:
    image, instances = read_scan(files, scan), read_labels(files, mask)
    values = {name: value for value, name in names.items()}
    table = np.zeros(max(*lesions, int(instances.array.max()), 0) + 1, np.uint8)
    for value, lesion in lesions.items():
        if site is None:
            table[value] = values[str(lesion["type"])]
        elif _is_tumor_of(lesion, site):
            table[value] = 1
    unknown = [int(value) for value in np.unique(instances.array) if value and int(value) not in lesions]
    if unknown:
        raise VolumeError(
            f"{files.describe(mask)}: value {', '.join(map(str, unknown))} is not in {files.describe(labels)}"
        )
    classes = table[instances.array]
    kept = LabelMap(np.where(classes != 0, instances.array, 0), instances.grid, instances.source)
    return RawScan(
        image,
        LabelMap(classes, instances.grid, instances.source),
        lesions=instance_rows(kept, lesions),
        instances=kept,
        facts=facts,
    )
