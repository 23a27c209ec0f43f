"""OpenKBP: a folder for each patient with sparse CSV tables of a volume of 128 x 128 x 128 voxels.

``{train,valid,test}-pats/pt_<n>/ct.csv`` holds flat indices and values, ``<structure>.csv`` the indices of a mask, and
``voxel_dimensions.csv`` the edges of a voxel in mm. The axes of the volume run to the patient's back, left and feet.
What is in no row of ``ct.csv`` is air, so the scan is cut to the voxels that are there.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import MaskMerger, numbered
from medlsam.data.source import FoundCases, RawCase, RawScan, Split
from medlsam.errors import DatasetError, VolumeError
from medlsam.geometry import Grid
from medlsam.volume.volume import Image, Source

#: Organs at risk, in the order in which the challenge lists them; targets are no anatomy.
STRUCTURES = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
_EDGE = 128
#: Values are HU and this much more.
_OFFSET = 1000
_SPLITS: dict[str, Split] = {"train": "train", "valid": "val", "test": "test"}


def find(files: SourceFiles) -> FoundCases:
    """The patients of the data set.

    Raises:
        DatasetError: a patient lies there twice.
    """
    names = numbered(STRUCTURES)
    present = set(files.names)
    cases: dict[str, RawCase] = {}
    for found in files.matching(r"(train|valid|test)-pats/pt_(\d+)/ct\.csv"):
        name, folder = f"openkbp_{int(found[2]):03d}", str(PurePosixPath(found.string).parent)
        if name in cases:
            raise DatasetError(f"{files.root}: patient {found[2]} lies there twice; give one copy only")
        masks = {s: f"{folder}/{s}.csv" for s in STRUCTURES if f"{folder}/{s}.csv" in present}
        cases[name] = RawCase(
            name, _SPLITS[found[1]], partial(_read, files, folder, masks, names), bool(masks)
        )
    return FoundCases(names, tuple(cases.values()))


def _read(files: SourceFiles, folder: str, masks: Mapping[str, str], names: Mapping[int, str]) -> RawScan:
    spacing = _numbers(files, f"{folder}/voxel_dimensions.csv").ravel()
    if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise VolumeError(
            f"{files.describe(f'{folder}/voxel_dimensions.csv')}: no three edges in mm: {spacing}"
        )
    rows = _numbers(files, f"{folder}/ct.csv", skip=1)
    if rows.ndim != 2 or rows.shape[1] != 2 or not len(rows):
        raise VolumeError(f"{files.describe(f'{folder}/ct.csv')}: not a table of indices and values")
    file = files.describe(f"{folder}/ct.csv")
    indices = _checked(rows[:, 0], file)
    values = np.rint(rows[:, 1]).astype(np.int16)
    volume = np.full(_EDGE**3, -_OFFSET, np.int16)
    volume[indices] = values - _OFFSET
    inside = np.zeros(_EDGE**3, bool)
    inside[indices] = True
    part, first = _cut(_upright(inside))
    along_y, along_x, along_z = (float(edge) for edge in spacing)
    edges = (along_x, along_y, along_z)
    array = np.ascontiguousarray(_upright(volume)[part])
    origin = tuple(float(start * edge) for start, edge in zip(first[::-1], edges, strict=True))
    z, y, x = array.shape
    grid = Grid((z, y, x), edges, (origin[0], origin[1], origin[2]))
    image = Image(array, grid, Source(path=files.root / folder))
    if not masks:
        return RawScan(image)
    merger = MaskMerger(grid, names)
    outside = []
    for name in STRUCTURES:
        if name in masks:
            mask = np.zeros(_EDGE**3, bool)
            mask[_mask_indices(files, masks[name])] = True
            whole = _upright(mask)
            merger.add(name, whole[part])
            if lost := int(whole.sum()) - int(whole[part].sum()):
                outside.append(f"{lost} voxels of {name} lie outside of the scan and are cut off")
    return RawScan(image, merger.labels, notes=(*merger.notes, *outside))


def _upright(flat: NDArray[Any]) -> NDArray[Any]:
    """Flat voxels as (Z, Y, X), to the head, the back and the left."""
    return flat.reshape(_EDGE, _EDGE, _EDGE).transpose(2, 0, 1)[::-1]


def _cut(inside: NDArray[np.bool_]) -> tuple[tuple[slice, ...], tuple[int, ...]]:
    """The part of the volume that has values, and its first voxel (Z, Y, X)."""
    spans = []
    for axis in range(3):
        there = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(spans), tuple(span.start for span in spans)


def _mask_indices(files: SourceFiles, name: str) -> NDArray[np.int64]:
    lines = files.text(name).splitlines()[1:]
    try:
        numbers = np.array([line.partition(",")[0] for line in lines if line], dtype=float)
    except ValueError as error:
        raise VolumeError(f"{files.describe(name)}: not a table of indices ({error})") from error
    return _checked(numbers, files.describe(name))


def _checked(numbers: NDArray[Any], file: str) -> NDArray[np.int64]:
    if numbers.size and not ((numbers >= 0) & (numbers < _EDGE**3) & (numbers == np.rint(numbers))).all():
        raise VolumeError(f"{file}: an index is none of a volume of {_EDGE} x {_EDGE} x {_EDGE} voxels")
    return numbers.astype(np.int64)


def _numbers(files: SourceFiles, name: str, skip: int = 0) -> NDArray[np.float64]:
    if name not in files.names:
        raise VolumeError(f"{files.describe(name)}: this file is missing")
    try:
        return np.loadtxt(io.StringIO(files.text(name)), delimiter=",", skiprows=skip, ndmin=1)
    except ValueError as error:
        raise VolumeError(f"{files.describe(name)}: not a table of numbers ({error})") from error
