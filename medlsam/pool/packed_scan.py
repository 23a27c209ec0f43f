"""One scan of a pool as one file, eight bits a voxel, laid out so that a random 3D crop reads few pages.

The file is a header, an index, and bricks of 8 x 8 x 8 voxels of one byte: eight of them, 64 voxels in a row, are a
page. A row-major array would be touched over its whole width for a narrow crop. Bricks of one value (air) are not
stored; larger ones would pad small scans by more than they save. Nothing is unpacked, so several loader processes share
the pages that the system keeps.

    bytes 0 to 4095     JSON: shape, spacing, origin, the HU of the 256 codes, the number of stored bricks
    from 4096           int32 (bricks z, y, x): the place of a brick among the stored ones, or -1 - code
    from a full page    stored bricks, uint8 codes, z slowest

The 256 codes stand for HU values that lie close to each other where tissues differ by little:

    HU                 step, HU     largest error, HU
    -1024 to -224      16           8 (lung, air; 12 below -1000)
    -224 to 226        3            1.5 (fat, soft tissue, blood with contrast)
    226 to 1186        24           12 (bone)
    1186 to 3071       about 126    63 (teeth, metal)

In the grey values that the encoder sees these are about equal steps: 0.004 to 0.005 of its range from air to bone.
``benchmarks/pretrain/pool.py`` prints the errors in real scans beside what neighbouring voxels differ by.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.runtime.atomic_files import atomic_path
from medlsam.volume import Image, Source
from medlsam.volume.hounsfield import HIGHEST_HU, LOWEST_HU

SUFFIX = ".ctshard"
BRICK = 8
_PAGE = 4096
#: Times a code, that code eight times in a row.
_ONES = np.uint64(0x0101010101010101)
_FORMAT = "medlsam pool shard 1"


LOWEST, HIGHEST = int(LOWEST_HU), int(HIGHEST_HU)


def _levels() -> NDArray[np.int16]:
    parts = (
        # Most voxels of many scans are exactly -1000.
        np.array([LOWEST]),
        np.arange(-1000, -224, 16),
        np.arange(-224, 226, 3),
        np.arange(226, 1186, 24),
        np.rint(np.linspace(1186, HIGHEST, 16)),
    )
    return np.concatenate(parts).astype(np.int16)


#: (256,) HU of each code, rising.
LEVELS_HU = _levels()
#: (4096,) nearest code of each whole HU from ``LOWEST`` to ``HIGHEST``.
_CODES = np.searchsorted(
    (LEVELS_HU[1:].astype(np.float64) + LEVELS_HU[:-1]) / 2, np.arange(LOWEST, HIGHEST + 1)
).astype(np.uint8)


def to_codes(hu: NDArray[Any]) -> NDArray[np.uint8]:
    """The nearest code of every HU value, of any shape; what lies outside -1024 to 3071 is clipped."""
    whole = np.rint(np.clip(hu, LOWEST, HIGHEST)).astype(np.int16)
    return np.asarray(_CODES[whole - LOWEST])


class PackedScan:
    """An open scan of a pool.

    Attributes:
        path: of the file.
        grid: shape, isotropic spacing (mm) and origin of the voxels; identity direction (LPS).
        levels_hu: (256,) float32 HU of each code.
    """

    def __init__(self, path: Path | str) -> None:
        """Map the file.

        Raises:
            VolumeError: the file is absent, of another kind, or cut off.
        """
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            header = json.loads(pages[:_PAGE].rstrip(b"\0"))
            if header["format"] != _FORMAT:
                raise ValueError(f"format {header['format']!r}")
            z, y, x = header["shape_zyx"]
            spacing = float(header["spacing_mm"])
            self.grid = Grid((z, y, x), (spacing,) * 3, tuple(header["origin_xyz"]))
            counts = tuple(-(-n // BRICK) for n in (z, y, x))
            start, count = _first_brick(counts), int(header["bricks"])
            self.levels_hu = np.asarray(header["levels_hu"], np.float32)
            self._index = np.frombuffer(pages, np.int32, int(np.prod(counts)), _PAGE).reshape(counts)
            stored = np.frombuffer(pages, np.uint8, count * BRICK**3, start)
            self._bricks = stored.reshape(count, BRICK, BRICK, BRICK)
            # Eight codes in a row as one number: five times as fast to put in order as the single codes.
            self._rows = self._bricks.view(np.uint64)[..., 0]
        except OSError as error:
            raise VolumeError(f"{path}: the shard cannot be opened ({error.strerror or error})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise VolumeError(
                f"{path}: not a whole shard of a pool ({error}); remove it and run `medlsam pool build` again"
            ) from error

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.grid.shape_zyx

    def crop(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> NDArray[np.float32]:
        """HU of a block of voxels; what lies outside the scan is air, -1024.

        Args:
            start_zyx: first voxel; may be negative.
            shape_zyx: voxels along each axis; may reach beyond the scan.

        Returns:
            (Z, Y, X) float32.
        """
        ends = [first + n for first, n in zip(start_zyx, shape_zyx, strict=True)]
        low = [max(first, 0) for first in start_zyx]
        high = [min(end, n) for end, n in zip(ends, self.grid.shape_zyx, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return np.full(tuple(shape_zyx), LOWEST, np.float32)
        inside = self.levels_hu.take(self._codes(low, high))
        if inside.shape == tuple(shape_zyx):
            return inside
        whole = np.full(tuple(shape_zyx), LOWEST, np.float32)
        whole[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start_zyx, strict=True))] = inside
        return whole

    def stored(
        self, start_zyx: Sequence[int], shape_zyx: Sequence[int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """A block that lies in the scan, as it is stored: a quarter of what ``crop`` gives.

        Args:
            start_zyx: first voxel.
            shape_zyx: voxels along each axis.

        Returns:
            (Z, Y, X) uint8 codes, and the HU (256,) of each.
        """
        ends = [first + n for first, n in zip(start_zyx, shape_zyx, strict=True)]
        return np.ascontiguousarray(self._codes(start_zyx, ends)), self.levels_hu

    def values_at(self, voxels_zyx: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """HU of single voxels, wherever they lie; only their bricks are read, and nothing is unpacked.

        Args:
            voxels_zyx: (N, 3) indices; outside the scan is air, -1024.

        Returns:
            (N,) float32.
        """
        inside = np.all((voxels_zyx >= 0) & (voxels_zyx < np.array(self.grid.shape_zyx)), axis=-1)
        bricks, within = np.divmod(np.where(inside[:, None], voxels_zyx, 0).T, BRICK)
        places = self._index[tuple(bricks)]
        codes = -1 - places  # of bricks of one value
        held = places >= 0
        z, y, x = within[:, held]
        codes[held] = self._bricks[places[held], z, y, x]
        return np.where(inside, self.levels_hu.take(codes), LOWEST).astype(np.float32, copy=False)

    def read(self) -> Image:
        """The whole scan: float32 HU on ``grid``."""
        return Image(self.crop((0, 0, 0), self.grid.shape_zyx), self.grid, Source(self.path))

    def _codes(self, low: Sequence[int], high: Sequence[int]) -> NDArray[np.uint8]:
        """uint8 codes of the voxels from ``low`` up to, not including, ``high``, all inside the scan."""
        first = [a // BRICK for a in low]
        wanted = self._index[tuple(slice(f, -(-b // BRICK)) for f, b in zip(first, high, strict=True))]
        rows = np.empty((*wanted.shape, BRICK, BRICK), np.uint64)
        held = wanted >= 0
        rows[held] = self._rows[wanted[held]]
        rows[~held] = (_ONES * (-1 - wanted[~held]).astype(np.uint64))[:, None, None]
        shape = [n * BRICK for n in wanted.shape]
        whole = np.ascontiguousarray(rows.transpose(0, 3, 1, 4, 2)).view(np.uint8).reshape(shape)
        return whole[
            tuple(slice(a - f * BRICK, b - f * BRICK) for a, b, f in zip(low, high, first, strict=True))
        ]


def write_packed_scan(path: Path | str, volume: Image) -> None:
    """Pack a scan into a file: whole or not at all, and the same bytes for the same scan.

    Args:
        path: the file.
        volume: HU on an isotropic grid with identity direction.
    """
    array, grid = volume.array, volume.grid
    assert len(set(grid.spacing_xyz)) == 1, "an isotropic grid"
    counts = tuple(-(-n // BRICK) for n in array.shape)
    filled = [(0, n * BRICK - size) for n, size in zip(counts, array.shape, strict=True)]
    # The border goes on in the last bricks: a brick of air stays one of air.
    codes = np.pad(to_codes(array), filled, mode="edge")
    z, y, x = counts
    bricks = codes.reshape(z, BRICK, y, BRICK, x, BRICK).transpose(0, 2, 4, 1, 3, 5).reshape(-1, BRICK**3)
    plain = (bricks == bricks[:, :1]).all(axis=1)
    index = np.where(plain, -1 - bricks[:, 0].astype(np.int32), np.cumsum(~plain, dtype=np.int32) - 1)
    header = {
        "format": _FORMAT,
        "shape_zyx": list(grid.shape_zyx),
        "spacing_mm": grid.spacing_xyz[0],
        "origin_xyz": list(grid.origin_xyz),
        "bricks": int((~plain).sum()),
        "levels_hu": LEVELS_HU.tolist(),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    assert len(text) <= _PAGE, "a header of one page"
    data = text.ljust(_PAGE, b"\0") + index.astype("<i4").tobytes()
    data = data.ljust(_first_brick(counts), b"\0") + bricks[~plain].tobytes()
    path = Path(path)
    # The same scan may come from several sources: its file is not touched again.
    if path.is_file() and path.read_bytes() == data:
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def _first_brick(counts: Sequence[int]) -> int:
    """The byte at which the bricks begin."""
    return _PAGE + -(-int(np.prod(counts)) * 4 // _PAGE) * _PAGE
