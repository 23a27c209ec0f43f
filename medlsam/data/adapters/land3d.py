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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medlsam.data.adapters.deeplesion import Run, lesion_row, read_png, read_run, runs
from medlsam.data.deeplesion_table import KeyLesion
from medlsam.data.files import SourceFiles
from medlsam.data.label_values import numbered
from medlsam.data.nifti_pairs import read_labels
from medlsam.data.source import FoundCases, LesionRow, RawCase, RawScan
from medlsam.errors import DatasetError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.canonical import to_canonical
from medlsam.volume.components import number_components
from medlsam.volume.volume import LabelMap

_FLAT = r"[^/]*mask[^/]*/(\d{6}_\d{2}_\d{2})_(\d+)\.png"
_SOLID = r"[^/]*mask[^/]*/(\d{6}_\d{2}_\d{2})_(\d+)\.nii(?:\.gz)?"

Key = tuple[str, int]  # series and key slice


@dataclass(frozen=True)
class _Masks:
    """Mask files by series and key slice."""

    flat: Mapping[Key, str]
    solid: Mapping[Key, str]


def find(files: SourceFiles) -> FoundCases:
    """The runs of DeepLesion's slices that have a lesion of 3DLAND; labels where there are masks in 3D.

    Raises:
        DatasetError: a table is missing or wrong; a slice lies there twice.
    """
    organs = _organs(files)
    names = numbered(f"{organ} lesion" for organ in sorted({_class(organ) for organ in organs.values()}))
    masks = _Masks(*({(f[1], int(f[2])): f.string for f in files.matching(p)} for p in (_FLAT, _SOLID)))
    found, left_out = runs(files)
    cases = []
    for run in found:
        kept = tuple(lesion for lesion in run.lesions if _organ(lesion, organs))
        if not kept:
            left_out[run.name] = "no lesion of 3DLAND on its slices"
            continue
        own = replace(run, lesions=kept)
        solid = all((run.series, lesion.slice) in masks.solid for lesion in kept)
        read = partial(_read, files, own, [_organ(lesion, organs) for lesion in kept], masks, solid, names)
        cases.append(RawCase(run.name, kept[0].split, read, labelled=solid))
    return FoundCases(names, tuple(cases), left_out)


def _organs(files: SourceFiles) -> dict[tuple[str, int, int | None, tuple[float, ...]], str]:
    """Organ by series, key slice, lesion_id (None: the only answer for this box) and box."""
    tables = files.matching(r"3DLAND_Info\.csv")
    if not tables:
        raise DatasetError(f"{files.root}: 3DLAND_Info.csv is missing; take it from 3DLAND's repository")
    where = files.describe(tables[0].string)
    found: dict[tuple[str, int, int | None, tuple[float, ...]], str] = {}
    several: dict[tuple[str, int, None, tuple[float, ...]], set[str]] = {}
    for index, row in enumerate(csv.DictReader(io.StringIO(files.text(tables[0].string)))):
        try:
            organ = row["matched_organs"].strip()
            box = tuple(float(side) for side in row["Bounding_boxes"].strip("[] ").split(","))
            place = (row["series"].strip(), int(row["key_slice"]))
            found[(*place, int(row["lesion_id"]), box)] = organ
        except (KeyError, ValueError, AttributeError) as error:
            raise DatasetError(f"{where}: row {index + 2}: {error!r}") from error
        several.setdefault((*place, None, box), set()).add(organ)
    return found | {place: own.pop() for place, own in several.items() if len(own) == 1}


def _organ(lesion: KeyLesion, organs: Mapping[tuple[str, int, int | None, tuple[float, ...]], str]) -> str:
    """The organ of a lesion; empty where 3DLAND has none, or two that the table does not tell apart."""
    keys = ((lesion.series, lesion.slice, index, lesion.box_xyxy) for index in (lesion.index, None))
    return next((organs[key] for key in keys if key in organs), "")


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
    return RawScan(image, labels, notes=tuple(notes), lesions=tuple(rows), instances=known)


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
