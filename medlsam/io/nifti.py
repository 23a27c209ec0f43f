"""NIfTI: where the voxels lie, and their values, read once from front to back in bounded memory.

nibabel reads the header. Its readers, and SimpleITK's, would hold the voxels twice, and make cut-off data and NaN 0 in
silence.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import GeometryError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.checks import nearest_rotation

_log = logging.getLogger(__name__)
_CHUNK = 1 << 22
#: Code of the stored type to numpy's name of it, where a voxel is one real number.
_KINDS = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_UNITS = {1: 1000.0, 3: 0.001}
#: Corners that two transforms of one file place further apart than this disagree, mm.
_AGREE_MM = 0.1


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 or -2 header that are looked at here.

    Attributes:
        block: the header as it is stored.
        kind: numpy's name of the stored type with its byte order; None where a voxel is no real number.
        shape: of all axes, x first.
        start: byte at which the voxels begin.
        slope: the value of a voxel is ``slope`` times what is stored plus ``intercept``.
        intercept: see ``slope``.
    """

    block: bytes
    kind: str | None
    shape: tuple[int, ...]
    start: int
    slope: float
    intercept: float

    @property
    def count(self) -> int:
        """Voxels, of all axes."""
        return math.prod(self.shape)


def nifti_header(path: Path) -> NiftiHeader:
    """Read and check a NIfTI header.

    Raises:
        VolumeError: no NIfTI file, or a file shorter than its voxels.
    """
    try:
        with _open(path) as file:
            header = parse_nifti(file.read(544), path)
            packed = isinstance(file, gzip.GzipFile)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut_off(path, str(error)) from error
    if header.kind is not None and not packed:
        held, needed = path.stat().st_size - header.start, header.count * np.dtype(header.kind).itemsize
        if held < needed:
            raise _cut_off(path, f"it holds {max(held, 0)} of {needed} bytes of voxels")
    return header


def nifti_grid(path: Path, header: NiftiHeader, quiet: bool = False) -> Grid:
    """Where the first three axes lie.

    A NIfTI file can say it twice. The sform counts where its code is set and its axes are at right angles, as in
    nibabel, FSL and TotalSegmentator; else the qform; else the voxel spacing alone. Where they disagree, a warning says
    by how much.

    Args:
        path: for messages.
        header: of the file.
        quiet: log no warning.

    Raises:
        VolumeError: no voxel spacing, or axes that are not at right angles.
    """
    warn: Callable[..., None] = _unsaid if quiet else _log.warning
    raw = raw_header(header.block)
    size = tuple(int(n) for n in (*header.shape, 1, 1, 1)[:3])
    spacing = tuple(float(s) for s in raw["pixdim"][1 : 1 + min(3, len(header.shape))])
    if not all(math.isfinite(s) and s != 0 for s in spacing):
        raise VolumeError(
            f"{path}: no voxel spacing in the header (pixdim {spacing}); write the spacing in mm there"
        )
    scale = _UNITS.get(int(raw["xyzt_units"]) & 7, 1.0)
    forms = {}
    if raw["sform_code"] > 0:
        forms["sform"] = np.asarray([raw["srow_x"], raw["srow_y"], raw["srow_z"]], dtype=float)
    if raw["qform_code"] > 0:
        forms["qform"] = _qform(raw)
    if not forms:
        warn("%s: no orientation in the header (qform and sform code 0); is left left?", path)
        sx, sy, sz = (abs(float(s)) * scale for s in (*spacing, 1.0, 1.0)[:3])
        return Grid(size[::-1], (sx, sy, sz))  # type: ignore[arg-type]
    found: dict[str, Grid] = {}
    for name, rows in forms.items():
        try:
            found[name] = _grid(rows * scale, size)
        except GeometryError as error:
            fault = f"its {name} cannot be used: {error}"
            if name == "qform" and found:
                continue
            if len(forms) == 1 or name == "qform":
                raise VolumeError(
                    f"{path}: {fault}; resample the scan to an orthogonal grid first"
                ) from error
            warn("%s: %s; the qform is used", path, fault)
    grid = next(iter(found.values()))
    if len(found) == 2:
        apart = float(np.abs(found["sform"].corners() - found["qform"].corners()).max())
        if apart > _AGREE_MM:
            words = "sform and qform place the scan's corners up to %.1f mm apart; the sform is used"
            warn("%s: " + words, path, apart)
    _warn_of_pixdim(warn, path, grid, spacing, scale)
    return grid


def raw_header(block: bytes) -> Any:
    """The fields of a stored NIfTI header by nibabel's names."""
    import nibabel

    kind: Any = nibabel.Nifti2Header if len(block) == 540 else nibabel.Nifti1Header
    return kind(block, check=False)


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
    except gzip.BadGzipFile as error:
        # The first bytes were those of a gzip stream, or it would not have been opened as one.
        if "Not a gzipped file" in str(error):
            raise VolumeError(
                f"{path}: other bytes follow the gzip stream ({error}): the file was joined with another or damaged "
                "on its way; copy it again, or unpack and pack it anew"
            ) from error
        raise _cut_off(path, str(error)) from error
    except (EOFError, zlib.error) as error:
        raise _cut_off(path, str(error)) from error
    if left:
        raise _cut_off(path, f"{left} of {header.count * kind.itemsize} bytes of voxels are missing")


def _open(path: Path) -> gzip.GzipFile | io.BufferedReader:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if packed else path.open("rb")


def _cut_off(path: Path, what: str) -> VolumeError:
    return VolumeError(f"{path}: the file is truncated or damaged ({what}); copy it again")


def parse_nifti(data: bytes, path: Path) -> NiftiHeader:
    """The header that a file begins with.

    Args:
        data: its first 540 bytes, or those of a header alone.
        path: for messages.

    Raises:
        VolumeError: they are no NIfTI header.
    """
    if data[:2] == b"\x1f\x8b":
        raise VolumeError(f"{path}: the file is gzipped twice; unpack it once (gunzip) and give that")
    size = next((s for s in (348, 540) for order in ("little", "big") if data[:4] == s.to_bytes(4, order)), 0)
    if not size or len(data) < size:
        raise VolumeError(f"{path}: not a NIfTI file, or its header is damaged; copy it again")
    raw = raw_header(data[:size])
    dims = [int(n) for n in raw["dim"]]
    name = _KINDS.get(int(raw["datatype"]))
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    # A slope of 0 means no scaling at all, whatever the intercept says (NIfTI-1).
    scaled = math.isfinite(slope) and slope != 0
    return NiftiHeader(
        block=data[:size],
        kind=None if name is None else raw.endianness + name,
        shape=tuple(max(1, n) for n in dims[1 : 1 + min(7, max(0, dims[0]))]),
        start=max(int(raw["vox_offset"]), size),
        slope=slope if scaled else 1.0,
        intercept=intercept if scaled and math.isfinite(intercept) else 0.0,
    )


def _qform(raw: Any) -> NDArray[np.float64]:
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.asarray(raw.get_qform(), dtype=float)[:3]
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return np.full((3, 4), np.nan)


def _grid(rows: NDArray[np.float64], size: tuple[int, ...]) -> Grid:
    """The grid of an affine (3, 4), RAS mm.

    Raises:
        GeometryError: it is no number, flat, or its axes are not at right angles.
    """
    matrix, origin = _TO_LPS @ rows[:, :3], _TO_LPS @ rows[:, 3]
    if not np.isfinite(rows).all():
        raise GeometryError("it is not a number")
    spacing = np.linalg.norm(matrix, axis=0)
    if not spacing.min() > 0:
        raise GeometryError(f"it has no extent along an axis (spacing {spacing.tolist()})")
    direction = matrix / spacing
    rotation = nearest_rotation(direction)
    sx, sy, sz = (float(s) for s in spacing)
    x, y, z = (float(o) for o in origin)
    return Grid(size[::-1], (sx, sy, sz), (x, y, z), tuple(float(v) for v in rotation.ravel()))  # type: ignore[arg-type]


def _unsaid(*words: object) -> None:
    """In place of a warning that was given before."""


def _warn_of_pixdim(
    warn: Callable[..., None], path: Path, grid: Grid, pixdim: tuple[float, ...], scale: float
) -> None:
    written = [abs(s) * scale for s in pixdim]
    if not np.allclose(written, grid.spacing_xyz[: len(written)], rtol=1e-3):
        used = " x ".join(f"{s:g}" for s in grid.spacing_xyz)
        said = " x ".join(f"{s:g}" for s in written)
        warn(
            "%s: the transform's voxels are %s mm, the spacing in the header (pixdim) is %s mm; the transform is used",
            path,
            used,
            said,
        )
