"""3DLAND: the lesions of abdominal organs in DeepLesion, with the organ of each and masks.

To DeepLesion's slices and ``DL_info.csv`` come ``3DLAND_Info.csv`` (``lesion_id``, ``matched_organs``, box) and
masks in a folder whose name contains ``mask``:

- of key slices, ``<series>_<slice>.png`` (published in the repository): they are no labels of a scan, whose other
  slices hold the lesion, too; the scans stay without labels, and the masks go to ``instancesTs``;
- in 3D, ``<series>_<key slice>.nii.gz``: labels by organ. The published code makes one NIfTI of all slices of a
  series, whatever gaps they have; masks of that size and masks of one run are both read. The names of these files
  are assumed after those of the PNG: the published repository holds none of them.

``lesion_id`` is the row of ``DL_info.csv``, from 0. Where two lesions have one key slice the table repeats each id
with both boxes: the row whose box is DeepLesion's own counts. Classes are the organs of the table, sorted;
``<organ>_prox``, a lesion near an organ, is of its class.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medlsam.data.adapters.deeplesion import Run, lesion_row, read_png, read_run, runs
from medlsam.data.deeplesion_table import KeyLesion, from_zero
from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import read_labels
from medlsam.data.source import FoundCases, LesionRow, RawCase, RawScan, failing_case
from medlsam.errors import DatasetError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.canonical import to_canonical
from medlsam.volume.components import number_components
from medlsam.volume.volume import LabelMap

_FLAT = r"(?i:[^/]*mask[^/]*)/(\d{6}_\d{2}_\d{2})_(\d+)\.png"
_SOLID = r"(?i:[^/]*mask[^/]*)/(\d{6}_\d{2}_\d{2})_(\d+)\.nii(?:\.gz)?"

Key = tuple[str, int]  # series and key slice
_NEEDED = ("series", "key_slice", "lesion_id", "matched_organs", "Bounding_boxes")


@dataclass(frozen=True)
class _Masks:
    """Mask files by series and key slice."""

    flat: Mapping[Key, str]
    solid: Mapping[Key, str]


@dataclass
class _Organs:
    """What ``3DLAND_Info.csv`` says.

    Attributes:
        by_row: organ by series, key slice, row of ``DL_info.csv`` and box.
        by_box: organs by series, key slice and box.
        bad: rows that cannot be used, by series and key slice.
        lost: rows that do not even say these.
    """

    by_row: dict[tuple[str, int, int, tuple[float, ...]], str] = field(default_factory=dict)
    by_box: dict[tuple[str, int, tuple[float, ...]], set[str]] = field(default_factory=dict)
    bad: dict[Key, DatasetError] = field(default_factory=dict)
    lost: list[DatasetError] = field(default_factory=list)

    def of(self, lesion: KeyLesion) -> str:
        """The organ of a lesion; empty where 3DLAND has none, or two that the table does not tell apart."""
        place = (lesion.series, lesion.slice)
        several = self.by_box.get((*place, lesion.box_xyxy), set())
        only = next(iter(several)) if len(several) == 1 else ""
        return self.by_row.get((*place, lesion.index, lesion.box_xyxy), only)


def find(files: SourceFiles) -> FoundCases:
    """The runs of DeepLesion's slices that have a lesion of 3DLAND; labels where there are masks in 3D.

    A run with a row of a table that is wrong fails by itself.

    Raises:
        DatasetError: a table is missing or lacks a column; a slice lies there twice.
    """
    organs = _organs(files)
    names = numbered(
        f"{organ} lesion" for organ in sorted({_class(organ) for organ in organs.by_row.values()})
    )
    masks = _Masks(*({(f[1], int(f[2])): f.string for f in files.matching(p)} for p in (_FLAT, _SOLID)))
    found, cases, left_out = runs(files)
    cases += [
        failing_case(f"a row without place, {n}", "train", error)
        for n, error in enumerate(organs.lost, start=1)
    ]
    for run in found:
        wrong = [
            organs.bad[run.series, number] for number in run.slices if (run.series, number) in organs.bad
        ]
        if wrong:
            cases.append(failing_case(run.name, run.split, wrong[0]))
            continue
        kept = tuple(lesion for lesion in run.lesions if organs.of(lesion))
        if not kept:
            left_out[run.name] = "no lesion of 3DLAND on its slices"
            continue
        own = replace(run, lesions=kept)
        solid = all((run.series, lesion.slice) in masks.solid for lesion in kept)
        read = partial(_read, files, own, [organs.of(lesion) for lesion in kept], masks, solid, names)
        cases.append(RawCase(run.name, run.split, read, labelled=solid))
    return FoundCases(names, tuple(cases), left_out)


def _organs(files: SourceFiles) -> _Organs:
    tables = files.matching(r"(?i:3DLAND_Info\.csv)")
    if not tables:
        raise DatasetError(f"{files.root}: 3DLAND_Info.csv is missing; take it from 3DLAND's repository")
    where = files.describe(tables[0].string)
    rows = csv.DictReader(io.StringIO(files.text(tables[0].string)))
    missing = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    if missing:
        raise DatasetError(f"{where}: column {', '.join(missing)} is missing")
    organs = _Organs()
    for index, row in enumerate(rows):
        cells = {
            name: (row[name] or "").strip() for name in _NEEDED
        }  # a row that was cut off lacks its last cells
        place: Key | None = None
        try:
            place = (cells["series"], int(cells["key_slice"]))
            organ, lesion = cells["matched_organs"], int(cells["lesion_id"])
            box = from_zero(float(side) for side in cells["Bounding_boxes"].strip("[] ").split(","))
            if not organ or len(box) != 4:
                raise ValueError(f"an organ and a box of four numbers are needed, found {cells}")
        except ValueError as error:
            told = DatasetError(f"{where}: row {index + 2}: {error}")
            if place is None:
                organs.lost.append(told)
            else:
                organs.bad[place] = told
            continue
        organs.by_row[(*place, lesion, box)] = organ
        organs.by_box.setdefault((*place, box), set()).add(organ)
    return organs


def _read(
    files: SourceFiles,
    run: Run,
    organs: Sequence[str],
    masks: _Masks,
    solid: bool,
    names: Mapping[int, str],
) -> RawScan:
    image = read_run(files, run)
    instances = np.zeros(image.grid.shape_zyx, np.uint8 if len(organs) < 256 else np.uint16)
    top = max(run.slices)
    notes: list[str] = []
    for number in sorted({lesion.slice for lesion in run.lesions}):
        key = (run.series, number)
        own = {n: lesion for n, lesion in enumerate(run.lesions, start=1) if lesion.slice == number}
        if solid:
            mask = _solid(files, masks.solid[key], run, image.grid)
        elif key in masks.flat:
            mask = np.zeros(instances.shape, bool)
            mask[top - number] = _flat(files, masks.flat[key], image.grid)
        else:
            continue
        shared = int((mask & (instances != 0)).sum())
        if shared:
            notes.append(
                f"{shared} voxels of key slice {number} were in an earlier mask, too, and stay there"
            )
        _share(mask & (instances == 0), own, instances)
    rows: list[LesionRow] = [
        {**lesion_row(number, lesion), "site": organ}
        for number, (lesion, organ) in enumerate(zip(run.lesions, organs, strict=True), start=1)
    ]
    values = {name: value for value, name in names.items()}
    table = np.array([0, *(values[f"{_class(organ)} lesion"] for organ in organs)], np.uint8)
    labels = LabelMap(table[instances], image.grid) if solid else None
    known = LabelMap(instances, image.grid) if instances.any() else None
    facts = {"patient": run.patient}
    return RawScan(image, labels, notes=tuple(notes), lesions=tuple(rows), instances=known, facts=facts)


def _class(organ: str) -> str:
    return organ.removesuffix("_prox")


def _flat(files: SourceFiles, name: str, grid: Grid) -> NDArray[np.bool_]:
    with files.at_hand([name]) as folder:
        plane = read_png(folder / PurePosixPath(name).name, files.describe(name)) != 0
    if plane.shape != grid.shape_zyx[1:]:
        raise VolumeError(f"{files.describe(name)}: {plane.shape} pixels, its slice has {grid.shape_zyx[1:]}")
    return np.asarray(plane)


def _solid(files: SourceFiles, name: str, run: Run, grid: Grid) -> NDArray[np.bool_]:
    """A mask on the grid of the run; from the feet up, as the run is."""
    mask = to_canonical(read_labels(files, name)).array != 0
    if mask.shape[0] == run.of:
        last = run.of - run.before
        mask = mask[last - len(run.slices) : last]
    if mask.shape != tuple(grid.shape_zyx):
        raise VolumeError(
            f"{files.describe(name)}: {mask.shape} voxels (slices, rows, columns); its run has {grid.shape_zyx}, its "
            f"series {run.of} slices"
        )
    return np.asarray(mask)


def _share(
    mask: NDArray[np.bool_], own: Mapping[int, KeyLesion], instances: NDArray[np.unsignedinteger]
) -> None:
    """Give each connected part of a mask to the lesion of its key slice whose box is nearest, in pixels."""
    numbered_parts, sizes = number_components(mask)
    for part in range(1, len(sizes) + 1):
        voxels = numbered_parts == part
        _, rows, columns = np.nonzero(voxels)
        center = np.array([columns.mean(), rows.mean()])
        boxes = {n: np.asarray(lesion.box_xyxy).reshape(2, 2).mean(axis=0) for n, lesion in own.items()}
        nearest = min(boxes, key=lambda n: float(np.linalg.norm(boxes[n] - center)))
        instances[voxels] = nearest
