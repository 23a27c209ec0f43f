"""Read a finished pool: its rows, its scans, and random crops of them.

Opening a scan takes a tenth of a millisecond, and its pages have to be mapped again; a small pool is opened once. But
every open scan holds a file descriptor (Python's ``mmap`` keeps a duplicate of the one it is given), and a process has
1,024 of them on many systems, for its pipes and shared tensors as well. So the number of open scans has a bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.pool.manifest import MANIFEST, POOL_FILE, read_rows, read_spacing
from medlsam.pool.packed_scan import PackedScan
from medlsam.runtime.atomic_files import sha256_of

#: Scans that a loader process keeps open.
MOST_OPEN = 64


def is_pool(folder: Path | str) -> bool:
    """Whether ``medlsam pool build`` has written to a folder."""
    return (Path(folder) / POOL_FILE).is_file()


class OpenScans:
    """Opens packed scans, and keeps the most recently used ones open.

    A file that is replaced while it is open is read as it was, so that what is drawn from it does not change halfway.

    Args:
        most: number of scans kept open.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self.most = most
        self._scans: OrderedDict[Path, PackedScan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, path: Path) -> PackedScan:
        """The packed scan of a file, open.

        Raises:
            VolumeError: see ``PackedScan``.
        """
        found = self._scans.pop(path, None) or PackedScan(path)
        self._scans[path] = found
        if len(self._scans) > self.most:
            # Nothing else refers to it, since crops are copies: its pages and its descriptor go with it.
            self._scans.popitem(last=False)
        return found

    def __getstate__(self) -> dict[str, Any]:
        # A map of a file cannot be sent to another process, which opens its own.
        return {"most": self.most, "_scans": OrderedDict()}


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
        self._opened = OpenScans()

    def __len__(self) -> int:
        return len(self.rows)

    def path(self, index: int) -> Path:
        """The file of a scan."""
        return self.folder / self.rows[index].shard

    def scan(self, index: int) -> PackedScan:
        """A scan, open."""
        return self._opened[self.path(index)]

    def random_crop(
        self,
        rng: np.random.Generator,
        shape_zyx: Sequence[int] = (64, 64, 64),
        weights: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """HU of a block anywhere in a random scan; -1024 where a scan is smaller than the block.

        Args:
            rng: the only source of randomness.
            shape_zyx: voxels.
            weights: probability of each scan, adding up to 1; equal if None.

        Returns:
            (Z, Y, X) float32.
        """
        scan = self.scan(int(rng.choice(len(self), p=weights)))
        room = [n - size for n, size in zip(scan.grid.shape_zyx, shape_zyx, strict=True)]
        # A scan smaller than the block lies anywhere in it.
        start = [int(rng.integers(min(n, 0), max(n, 0) + 1)) for n in room]
        return scan.crop(start, shape_zyx)

    def damaged(self) -> list[str]:
        """Scans whose file is missing or does not have its sha256; the message for each."""
        bad = []
        for row in self.rows:
            path = self.folder / row.shard
            if not path.is_file():
                bad.append(f"{row.name}: {path} is missing")
            elif sha256_of(path) != row.shard_sha256:
                bad.append(f"{row.name}: {path} is damaged")
        return bad
