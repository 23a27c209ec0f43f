"""Organ masks from what people have: a label map, TotalSegmentator's folder, or what ``medlsam`` wrote.

Reading labels of organs is no peeking: they are made by a model, or by a person for other purposes, and the lesion's
mask does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.geometry import Box, Grid
from medlsam.io.label_names import read_json, read_label_names
from medlsam.io.labels import read_label_map
from medlsam.lesion.propagate.organ import Organs
from medlsam.results import Localization, Segmentation
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume import resample

#: Files of a folder that hold one organ each.
_ONE_ORGAN = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
_TABLES = ("labels.json", "dataset.json")


def read_organs(path: Path | str, grid: Grid) -> Organs:
    """Read organ masks onto the grid of a scan.

    Args:
        path: a label map (names from its own header, or from ``labels.json`` or ``dataset.json`` beside it or one
            folder up); a folder with one file an organ, as TotalSegmentator writes; a case's folder that ``medlsam
            segment`` wrote; or a ``localization.json``, whose boxes then stand for the organs.
        grid: of the scan, in any direction.

    Raises:
        UsageError: there is nothing like that there, or no names.
        VolumeError: a file is no label map.
        GeometryError: the organs lie outside of the scan.
    """
    path = Path(path)
    if path.is_file() and path.suffix == ".json":
        try:
            found = Localization.from_dict(read_json(path, UsageError))
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: not a localization.json ({type(error).__name__}: {error})") from error
        return located_organs(found, grid)
    if path.is_file():
        return _named(path, grid)
    if not path.is_dir():
        raise UsageError(f"{path}: there is no such label map or folder of organs")
    whole = path / "segmentation.nii.gz"
    if whole.is_file():
        return _named(whole, grid)
    files = [file for file in sorted(path.iterdir()) if suffix_of(file) in _ONE_ORGAN]
    if not files:
        raise UsageError(f"{path}: no segmentation.nii.gz, and no file of one organ such as liver.nii.gz")
    return _joined(files, grid)


def segmented_organs(segmentation: Segmentation, grid: Grid) -> Organs:
    """Take the organs of a segmentation that was made in this process."""
    return Organs.of(segmentation.labels, segmentation.names, grid)


def located_organs(localization: Localization, grid: Grid) -> Organs:
    """Take the located boxes of structures for organs; of two boxes that overlap, the smaller has the voxel.

    Boxes are larger than what they hold, so lesions beside an organ may count as inside.
    """
    boxes = {name: s.box for name, s in localization.structures.items() if s.present and s.box is not None}
    if not boxes:
        raise UsageError(f"{localization.case}: no structure was located")
    names = dict(enumerate(sorted(boxes, key=lambda name: -boxes[name].volume), start=1))
    labels: NDArray[np.uint16] = np.zeros(grid.shape_zyx, np.uint16)
    for value, name in names.items():
        labels[_inside(boxes[name], grid)] = value
    return Organs(labels, names, grid)


def _inside(box: Box, grid: Grid) -> NDArray[np.bool_]:
    """(Z, Y, X): the voxels whose centres lie in a box."""
    z, y, x = grid.shape_zyx
    inside = np.ones(grid.shape_zyx, bool)
    axes = np.meshgrid(np.arange(z), np.arange(y), np.arange(x), indexing="ij", sparse=True)
    for lps in range(3):
        steps = grid.matrix[lps]
        place = grid.origin_xyz[lps] + steps[0] * axes[2] + steps[1] * axes[1] + steps[2] * axes[0]
        inside &= (place >= box.min[lps]) & (place <= box.max[lps])
    return inside


def _joined(files: list[Path], grid: Grid) -> Organs:
    """Join files of one organ each; of two organs in one voxel, the smaller one has it."""
    labels: NDArray[np.uint16] = np.zeros(grid.shape_zyx, np.uint16)
    names: dict[int, str] = {}
    # voxels of each value; one file at a time, since a folder has a hundred
    sizes = np.full(len(files) + 1, np.inf)
    for value, file in enumerate(files, start=1):
        own = read_label_map(file)
        mask = (own.array if own.grid.matches(grid, 1e-3) else resample(own, grid).array) > 0
        if not mask.any():
            continue
        sizes[value] = mask.sum()
        labels[mask & (sizes[labels] >= sizes[value])] = value
        names[value] = file.name.removesuffix(suffix_of(file))
    if not names:
        raise UsageError(f"{files[0].parent}: none of its {len(files)} organs lies in the scan")
    return Organs(labels, names, grid)


def _named(path: Path, grid: Grid) -> Organs:
    """Read a label map with the names of its header, else those of a table beside it or one folder up.

    A header's names belong to the file; a table may have been written by another command. Values without a name are
    called by their numbers.
    """
    labels = read_label_map(path)
    names: Mapping[int, str] = _names_in_header(path)
    if not names:
        tables = [folder / name for folder in (path.parent, path.parent.parent) for name in _TABLES]
        table = next((file for file in tables if file.is_file()), None)
        names = {} if table is None else read_label_names(table)
    numbered = {int(value): f"label {value}" for value in np.unique(labels.array) if value}
    return Organs.of(labels, numbered | dict(names), grid)


def _names_in_header(path: Path) -> dict[int, str]:
    """Names as TotalSegmentator and ``medlsam`` write them into NIfTI files; empty where there are none."""
    if suffix_of(path) not in (".nii", ".nii.gz"):
        return {}
    import re
    from xml.sax.saxutils import unescape

    import nibabel

    header: Any = nibabel.load(path).header
    text = b" ".join(
        own.get_content() if isinstance(own.get_content(), bytes) else b"" for own in header.extensions
    )
    found = re.findall(r'<Label Key="(\d+)"[^>]*>([^<]+)</Label>', text.decode("utf-8", "replace"))
    return {int(value): unescape(name) for value, name in found if int(value)}
