"""What SimpleITK passes over: cut-off NIfTI data and NaN in NIfTI (it makes both 0), no spacing (made 1)."""

from __future__ import annotations

import gzip
import io
import logging
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medlsam.errors import VolumeError
from medlsam.files import suffix_of

_log = logging.getLogger(__name__)
_CHUNK = 1 << 22
_FLOATS = {16: np.float32, 64: np.float64}


@dataclass(frozen=True)
class _Nifti:
    """The fields of a NIfTI-1 or -2 header that are looked at here."""

    order: Literal["<", ">"]
    kind: int
    spacing: tuple[float, ...]
    coded: bool
    data_start: int
    data_bytes: int


def check_header(path: Path) -> None:
    """Refuse an image file without spacing, and a NIfTI file whose data are cut off, damaged or not finite.

    Raises:
        VolumeError: naming the file and what is wrong.
    """
    suffix = suffix_of(path)
    if suffix in (".nii", ".nii.gz"):
        _check_nifti(path)
    elif suffix in (".nrrd", ".nhdr"):
        _check_text(path, ("space directions:", "spacings:"))
    elif suffix in (".mha", ".mhd"):
        _check_text(path, ("elementspacing", "elementsize"))


def _check_text(path: Path, fields: tuple[str, ...]) -> None:
    with path.open("rb") as file:
        header = file.read(1 << 16).decode("latin-1").lower()
    if not any(line.strip().startswith(fields) for line in header.splitlines()):
        raise VolumeError(
            f"{path}: no voxel spacing in the header; write it there ({' or '.join(fields)} in mm)"
        )


def _check_nifti(path: Path) -> None:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            header = _nifti_header(file, path)
            got, bad = _walk(file, header, packed, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise VolumeError(f"{path}: the file is truncated or damaged ({error}); copy it again") from error
    if got < header.data_bytes:
        raise VolumeError(
            f"{path}: the file is truncated: it holds {got} of {header.data_bytes} bytes of voxels; copy it"
        )
    if bad:
        raise VolumeError(
            f"{path}: {bad} values are NaN or infinite; replace them before use "
            "(outside the field of view by -1024)"
        )
    if not all(math.isfinite(s) and s > 0 for s in header.spacing):
        raise VolumeError(
            f"{path}: no voxel spacing in the header (pixdim {header.spacing}); write the spacing in mm there"
        )
    if not header.coded:
        _log.warning("%s: no orientation in the header (qform and sform code 0); is left left?", path)


def _nifti_header(file: gzip.GzipFile | io.BufferedReader, path: Path) -> _Nifti:
    data = file.read(544)
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        size = struct.unpack_from(f"{order}i", data)[0] if len(data) >= 348 else 0
        if size == 348:
            dims = struct.unpack_from(f"{order}8h", data, 40)
            kind, bits = struct.unpack_from(f"{order}2h", data, 70)
            spacing = struct.unpack_from(f"{order}3f", data, 80)
            start = int(struct.unpack_from(f"{order}f", data, 108)[0])
            codes = struct.unpack_from(f"{order}2h", data, 252)
            break
        if size == 540 and len(data) >= 540:
            dims = struct.unpack_from(f"{order}8q", data, 16)
            kind, bits = struct.unpack_from(f"{order}2h", data, 12)
            spacing = struct.unpack_from(f"{order}3d", data, 112)
            start = struct.unpack_from(f"{order}q", data, 168)[0]
            codes = struct.unpack_from(f"{order}2i", data, 344)
            break
    else:
        raise VolumeError(f"{path}: not a NIfTI file, or its header is damaged; copy it again")
    count = math.prod(max(1, n) for n in dims[1 : 1 + min(7, max(0, dims[0]))])
    axes = min(3, max(0, dims[0]))
    return _Nifti(order, kind, spacing[:axes], any(c > 0 for c in codes), start, count * bits // 8)


def _walk(
    file: gzip.GzipFile | io.BufferedReader, header: _Nifti, packed: bool, path: Path
) -> tuple[int, int]:
    """Bytes of voxel data that are there, and how many values are not finite.

    A packed file is read to its end, which also verifies its checksum; of others only floats are read.
    """
    kind = _FLOATS.get(header.kind)
    if not packed and kind is None:
        return max(0, path.stat().st_size - header.data_start), 0
    file.seek(header.data_start)
    got = bad = 0
    while chunk := file.read(_CHUNK):
        inside = chunk[: max(0, header.data_bytes - got)]
        got += len(chunk)
        if kind is not None:
            stored = np.dtype(kind).newbyteorder(header.order)
            whole = inside[: len(inside) // stored.itemsize * stored.itemsize]
            values = np.frombuffer(whole, stored)
            bad += int(values.size - np.isfinite(values).sum())
    return got, bad
