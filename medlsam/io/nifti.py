"""NIfTI voxels, read once from front to back: in bounded memory, and with nothing passed over.

SimpleITK gives the geometry. Its reader would hold the voxels twice, and makes cut-off data and NaN 0 in silence.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError

_log = logging.getLogger(__name__)
_CHUNK = 1 << 22
_KINDS = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 or -2 header that are looked at here.

    Attributes:
        kind: numpy's name of the stored type with its byte order; None where a voxel is no real number.
        spacing: of up to three axes.
        coded: whether the header says which way the axes run.
        start: byte at which the voxels begin.
        count: voxels, of all axes.
        slope: the value of a voxel is ``slope`` times what is stored plus ``intercept``.
        intercept: see ``slope``.
    """

    kind: str | None
    spacing: tuple[float, ...]
    coded: bool
    start: int
    count: int
    slope: float
    intercept: float


def nifti_header(path: Path) -> NiftiHeader:
    """Read and check a NIfTI header.

    Raises:
        VolumeError: no NIfTI file, no voxel spacing, or a file shorter than its voxels.
    """
    try:
        with _open(path) as file:
            header = _parse(file.read(544), path)
            packed = isinstance(file, gzip.GzipFile)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut_off(path, str(error)) from error
    if not all(math.isfinite(s) and s > 0 for s in header.spacing):
        raise VolumeError(
            f"{path}: no voxel spacing in the header (pixdim {header.spacing}); write the spacing in mm there"
        )
    if header.kind is not None and not packed:
        held, needed = path.stat().st_size - header.start, header.count * np.dtype(header.kind).itemsize
        if held < needed:
            raise _cut_off(path, f"it holds {max(held, 0)} of {needed} bytes of voxels")
    if not header.coded:
        _log.warning("%s: no orientation in the header (qform and sform code 0); is left left?", path)
    return header


def nifti_parts(path: Path, header: NiftiHeader) -> Iterator[NDArray[Any]]:
    """The values in the order of the file (x fastest), some millions at a time, slope and intercept applied.

    A packed file is read to its end, which also verifies its checksum.

    Raises:
        VolumeError: the data are cut off, damaged, or of a kind that is not read.
    """
    if header.kind is None:
        raise VolumeError(f"{path}: the voxels are not real numbers; CT has one value per voxel")
    kind = np.dtype(header.kind)
    left = header.count * kind.itemsize
    try:
        with _open(path) as file:
            file.seek(header.start)
            while chunk := file.read(_CHUNK):
                inside = chunk[:left]
                if len(inside) % kind.itemsize:
                    raise _cut_off(path, "it ends within a voxel")
                left -= len(inside)
                values = np.frombuffer(inside, kind).astype(kind.newbyteorder("="), copy=False)
                if (header.slope, header.intercept) != (1.0, 0.0):
                    values = (values * np.float64(header.slope) + header.intercept).astype(np.float32)
                if values.size:
                    yield values
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut_off(path, str(error)) from error
    if left:
        raise _cut_off(path, f"{left} of {header.count * kind.itemsize} bytes of voxels are missing")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if packed else path.open("rb")


def _cut_off(path: Path, what: str) -> VolumeError:
    return VolumeError(f"{path}: the file is truncated or damaged ({what}); copy it again")


def _parse(data: bytes, path: Path) -> NiftiHeader:
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        size = struct.unpack_from(f"{order}i", data)[0] if len(data) >= 348 else 0
        if size == 348:
            dims = struct.unpack_from(f"{order}8h", data, 40)
            (kind,) = struct.unpack_from(f"{order}h", data, 70)
            spacing = struct.unpack_from(f"{order}3f", data, 80)
            start = int(struct.unpack_from(f"{order}f", data, 108)[0])
            slope, intercept = struct.unpack_from(f"{order}2f", data, 112)
            codes = struct.unpack_from(f"{order}2h", data, 252)
            break
        if size == 540 and len(data) >= 540:
            dims = struct.unpack_from(f"{order}8q", data, 16)
            (kind,) = struct.unpack_from(f"{order}h", data, 12)
            spacing = struct.unpack_from(f"{order}3d", data, 112)
            (start,) = struct.unpack_from(f"{order}q", data, 168)
            slope, intercept = struct.unpack_from(f"{order}2d", data, 176)
            codes = struct.unpack_from(f"{order}2i", data, 344)
            break
    else:
        raise VolumeError(f"{path}: not a NIfTI file, or its header is damaged; copy it again")
    return NiftiHeader(
        kind=order + _KINDS[kind] if kind in _KINDS else None,
        spacing=spacing[: min(3, max(0, dims[0]))],
        coded=any(code > 0 for code in codes),
        start=max(start, size),
        count=math.prod(max(1, n) for n in dims[1 : 1 + min(7, max(0, dims[0]))]),
        slope=slope if math.isfinite(slope) and slope else 1.0,
        intercept=intercept if math.isfinite(intercept) else 0.0,
    )
