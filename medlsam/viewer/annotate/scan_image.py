"""The scan itself in the templates folder: ``<case>/image.*``, linked or copied, and a series as ``image.nii.gz``."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.errors import MedlsamError, UsageError
from medlsam.io.case_folders import one_image
from medlsam.io.cases import Case, read_case
from medlsam.io.folders import IMAGE_SUFFIXES
from medlsam.io.label_names import read_json
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import atomic_path, suffix_of, write_json
from medlsam.volume import Image

#: Which files an ``image.nii.gz`` was made of, so that they need not be read again to know that it is the same.
SOURCE_FILE = "image_source.json"
#: These name a file of their own that lies beside them.
_IN_TWO_FILES = (".nhdr", ".mhd")


def bring_image(case: Case, folder: Path) -> tuple[Path, Image | None]:
    """Have a scan in its folder: one that is there and the same is kept.

    An image file is hard-linked where the file system can, else copied; a DICOM series, a zip, and a header with its
    data in another file become ``image.nii.gz``. A kill leaves the whole image or none.

    Args:
        case: the scan.
        folder: of the scan in the templates folder.

    Returns:
        The image file, and the image (HU) where it had to be read.

    Raises:
        VolumeError: the scan cannot be read, or the folder cannot be written.
        UsageError: the folder holds another image, whose points those there are.
    """
    there = one_image(folder, "image")
    as_it_is = not case.files and not case.fault and suffix_of(case.path) in IMAGE_SUFFIXES
    as_it_is = as_it_is and suffix_of(case.path) not in _IN_TWO_FILES
    if there is not None:
        return there, _same(case, there, as_it_is)
    if as_it_is:
        # Read first: what is no CT gets no folder.
        image = read_case(case)
        target = folder / f"image{suffix_of(case.path)}"
        _link(case.path.resolve(), target)
        return target, image
    image = read_case(case)
    target = folder / "image.nii.gz"
    write_json(folder / SOURCE_FILE, _source(case))
    write_volume(image, target)
    return target, image


def _same(case: Case, there: Path, as_it_is: bool) -> Image | None:
    """Check that the image in the folder is the scan; the image where it had to be read."""
    if case.path == there or not case.path.exists():
        return None
    if as_it_is and (
        os.path.samefile(case.path, there)
        or (suffix_of(there) == suffix_of(case.path) and filecmp.cmp(case.path, there, shallow=False))
    ):
        return None
    note = there.parent / SOURCE_FILE
    if not as_it_is and _read_source(note) == _source(case):
        return None
    given, kept = read_case(case), read_image(there)
    if not (given.grid.matches(kept.grid) and np.array_equal(given.array, kept.array)):
        raise UsageError(
            f"{there}: this is another image than {case.path}, and what is marked beside it belongs to it; "
            "give another output folder, or rename the scan"
        )
    if not as_it_is:
        write_json(note, _source(case))
    return kept


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # In one step, and never over a file that is there.
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _source(case: Case) -> dict[str, Any]:
    """Path, number of files, and a sum of their names, sizes and times of change."""
    lines = []
    for file in case.inputs:
        stat = file.stat()
        lines.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    digest = hashlib.sha256("\n".join(lines).encode(errors="backslashreplace")).hexdigest()
    return {"path": str(case.path.absolute()), "files": len(lines), "sha256": digest}


def _read_source(note: Path) -> Any:
    try:
        return read_json(note, UsageError)
    except MedlsamError:
        return None
