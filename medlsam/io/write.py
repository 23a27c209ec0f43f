"""Write a volume to an image file: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medlsam.errors import UsageError, VolumeError
from medlsam.runtime.atomic_files import atomic_path, suffix_of
from medlsam.volume.volume import Volume, to_sitk

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def write_volume(volume: Volume, path: Path | str) -> None:
    """Write a scan or label map; parent folders are made, an existing file is replaced in one step.

    Labels are stored as uint8, or uint16 where a value passes 255; HU as int16 or float32. ``.mhd`` writes
    the pair ``.mhd`` and ``.zraw``.

    Raises:
        UsageError: the extension is none of nii.gz, nii, nrrd, mha, mhd.
        VolumeError: the values do not fit the types above, or the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in WRITABLE:
        raise UsageError(f"{path}: cannot write this kind of file; use one of {', '.join(WRITABLE)}")
    image = to_sitk(_storable(volume.array, path), volume.grid)
    try:
        if suffix_of(path) == ".mhd":
            _write_pair(image, path)
        else:
            with atomic_path(path) as temporary:
                sitk.WriteImage(image, str(temporary), useCompression=True)
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{path}: cannot be written ({str(error).strip().splitlines()[-1]})") from error


def _storable(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype == np.int16:
        return array
    if array.dtype.kind not in "iub":
        raise VolumeError(f"{path}: cannot store {array.dtype}; volumes hold HU or integer labels")
    low, high = int(array.min()), int(array.max())
    for kind in (np.uint8, np.uint16, np.int16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind, copy=False)
    raise VolumeError(f"{path}: values {low}..{high} fit neither uint16 labels nor int16 HU")


def _write_pair(image: sitk.Image, path: Path) -> None:
    # The header names its data file, so both get their final names in a folder beside the target; the data
    # move first: a header is never seen without its data.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        sitk.WriteImage(image, str(Path(folder) / path.name), useCompression=True)
        for file in sorted(Path(folder).iterdir(), key=lambda f: f.suffix.lower() == ".mhd"):
            os.replace(file, path.parent / file.name)
