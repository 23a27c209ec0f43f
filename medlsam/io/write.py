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
from medlsam.volume.volume import LabelMap, Volume, to_sitk

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
#: float32 holds every whole number up to here.
_WHOLE_IN_FLOAT32 = 2**24


def write_volume(volume: Volume, path: Path | str) -> None:
    """Write a scan or label map; parent folders are made, an existing file is replaced in one step.

    Labels are stored as uint8, or uint16 where a value passes 255; HU as int16, or float32 where int16 does not hold
    them. ``.mhd`` writes the pair ``.mhd`` and ``.zraw``.

    Raises:
        UsageError: the extension is none of nii.gz, nii, nrrd, mha, mhd.
        VolumeError: the values do not fit the types above, or the file cannot be written.
    """
    path = Path(path)
    if suffix_of(path) not in WRITABLE:
        raise UsageError(f"{path}: cannot write this kind of file; use one of {', '.join(WRITABLE)}")
    image = to_sitk(_storable(volume, path), volume.grid)
    try:
        if suffix_of(path) == ".mhd":
            _write_pair(image, path)
        else:
            with atomic_path(path) as temporary:
                sitk.WriteImage(image, str(temporary), useCompression=True)
    except (RuntimeError, OSError) as error:
        raise VolumeError(f"{path}: cannot be written ({str(error).strip().splitlines()[-1]})") from error


def _storable(volume: Volume, path: Path) -> NDArray[Any]:
    array, kind = volume.array, volume.array.dtype.kind
    if kind not in "iubf":
        raise VolumeError(f"{path}: cannot store {array.dtype}; volumes hold HU or whole labels")
    low, high = array.min(), array.max()
    if isinstance(volume, LabelMap):
        whole = kind != "f" or bool((np.rint(array) == array).all())
        if not (whole and low >= 0 and high <= np.iinfo(np.uint16).max):
            raise VolumeError(f"{path}: values {low:g} to {high:g} are not whole labels from 0 to 65535")
        return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16, copy=False)
    if kind != "f" and np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
        return array.astype(np.int16, copy=False)
    if kind != "f" and max(-int(low), int(high)) > _WHOLE_IN_FLOAT32:
        raise VolumeError(f"{path}: values {low} to {high} are no HU: neither int16 nor float32 holds them")
    return array.astype(np.float32, copy=False)


def _write_pair(image: sitk.Image, path: Path) -> None:
    # The header names its data file, so both get their final names in a folder beside the target; the data
    # move first: a header is never seen without its data.
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        sitk.WriteImage(image, str(Path(folder) / path.name), useCompression=True)
        for file in sorted(Path(folder).iterdir(), key=lambda f: f.suffix.lower() == ".mhd"):
            os.replace(file, path.parent / file.name)
