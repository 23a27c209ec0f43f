"""A finished pool, to be read: its rows, its scans, and random crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.pool.manifest import MANIFEST, POOL_FILE, read_rows, read_spacing
from medlsam.pool.packed_scan import Shard
from medlsam.runtime.atomic_files import sha256_of

#: Open files, well below what systems allow a process.
_OPEN = 256


def is_pool(folder: Path | str) -> bool:
    """Whether ``medlsam pool build`` has written to a folder."""
    return (Path(folder) / POOL_FILE).is_file()


class Pool:
    """A pool of CT scans on disk.

    Attributes:
        folder: where it lies.
        spacing_mm: of all scans, along all axes.
        rows: of the manifest, by name.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open a pool.

        Raises:
            UsageError: the folder holds no pool, or one whose first build has not ended.
        """
        self.folder = Path(folder)
        spacing = read_spacing(self.folder)
        if spacing is None:
            raise UsageError(f"{folder}: holds no pool; make one with `medlsam pool build`")
        if not (self.folder / MANIFEST).is_file():
            raise UsageError(
                f"{folder}: the build of this pool has not ended; run `medlsam pool build` again"
            )
        self.spacing_mm = spacing
        self.rows = read_rows(self.folder)
        self._shard = lru_cache(_OPEN)(Shard)

    def __len__(self) -> int:
        return len(self.rows)

    def path(self, index: int) -> Path:
        """The shard of a scan."""
        return self.folder / self.rows[index].shard

    def shard(self, index: int) -> Shard:
        """A scan, opened; the last ones that were asked for stay open."""
        return self._shard(self.path(index))

    def random_crop(
        self,
        rng: np.random.Generator,
        shape_zyx: Sequence[int] = (64, 64, 64),
        weights: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """HU of a block anywhere in a random scan; -1024 where a scan is smaller than the block.

        Args:
            rng: the only source of chance.
            shape_zyx: voxels.
            weights: chance of each scan, adding up to 1; all alike if None.

        Returns:
            (Z, Y, X) float32.
        """
        shard = self.shard(int(rng.choice(len(self), p=weights)))
        room = [n - size for n, size in zip(shard.grid.shape_zyx, shape_zyx, strict=True)]
        # A scan smaller than the block lies anywhere in it.
        start = [int(rng.integers(min(n, 0), max(n, 0) + 1)) for n in room]
        return shard.crop(start, shape_zyx)

    def damaged(self) -> list[str]:
        """Scans whose shard is missing or does not have its sha256; the message for each."""
        bad = []
        for row in self.rows:
            path = self.folder / row.shard
            if not path.is_file():
                bad.append(f"{row.name}: {path} is missing")
            elif sha256_of(path) != row.shard_sha256:
                bad.append(f"{row.name}: {path} is damaged")
        return bad
