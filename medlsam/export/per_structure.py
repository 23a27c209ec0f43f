"""One mask file for each structure, as TotalSegmentator lays them out: ``structures/<structure>.nii.gz``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medlsam.io.write import write_volume
from medlsam.results import Segmentation

FOLDER = "structures"
SUFFIX = ".nii.gz"
#: Names that Windows keeps for devices.
_KEPT = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
#: Of the name without extension, in bytes; file systems allow 255 for all of it.
_LONGEST = 120


def write_structures(segmentation: Segmentation, folder: Path) -> list[str]:
    """Write a uint8 mask (0 and 1) in the scan's geometry for each structure that has voxels.

    Args:
        segmentation: of a scan.
        folder: the scan's; the masks go into ``structures`` below.

    Returns:
        The files, relative to ``folder``.
    """
    labels, written = segmentation.labels, []
    files = file_names(segmentation.names)
    for value in sorted(segmentation.names):
        mask = labels.array == value
        if not mask.any():
            continue
        written.append(f"{FOLDER}/{files[value]}")
        write_volume(labels.derived(mask.astype(np.uint8), labels.grid), folder / written[-1])
    return written


def file_names(names: Mapping[int, str]) -> dict[int, str]:
    """Label value to a file name that every file system takes, no two the same whatever the case of letters."""
    found: dict[int, str] = {}
    for value, name in sorted(names.items()):
        stem = re.sub(r"[^\w.+-]+", "_", name).strip("._") or "structure"
        if _KEPT.fullmatch(stem):
            stem = f"{stem}_"
        stem = stem.encode()[:_LONGEST].decode(errors="ignore")
        taken = {file.casefold() for file in found.values()}
        found[value] = next(file for file in _numbered(stem) if file.casefold() not in taken)
    return found


def _numbered(stem: str) -> Iterable[str]:
    yield f"{stem}{SUFFIX}"
    number = 2
    while True:
        yield f"{stem}_{number}{SUFFIX}"
        number += 1
