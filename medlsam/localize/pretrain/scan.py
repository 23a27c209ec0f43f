"""What planning a view asks of a scan: its size, one block, and the values of some voxels.

A ``Shard`` of a pool answers from the pages that hold them, so that a draw does not unpack the whole scan. What answers
otherwise, such as an array in memory, gives the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Scan(Protocol):
    """A scan on an isotropic grid; ``medlsam.pool.shard.Shard`` is one."""

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        ...

    def stored(
        self, start_zyx: Sequence[int], shape_zyx: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """A block (Z, Y, X) that lies in the scan, as it is stored; a copy, which outlives the scan.

        Returns:
            HU and None; or uint8 codes and the HU (256,) of each.
        """
        ...

    def values_at(self, voxels_zyx: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """(N,) HU of (N, 3) voxels that lie in the scan."""
        ...
