"""A scan in memory, and its view pairs: drawn at once, where training plans on processors and draws on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.localize.pretrain.view_pairs import (
    PairPlan,
    ViewOptions,
    plan_pair,
)
from medlsam.volume.hounsfield import AIR_HU


@dataclass(frozen=True, eq=False)
class ArrayScan:
    """A scan in memory.

    Attributes:
        array: (Z, Y, X) HU of any type.
    """

    array: NDArray[Any]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        z, y, x = self.array.shape
        return z, y, x

    def stored(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> tuple[NDArray[Any], None]:
        """See ``ScanReader``."""
        block = tuple(slice(first, first + n) for first, n in zip(start_zyx, shape_zyx, strict=True))
        return self.array[block].copy(), None

    def values_at(self, voxels_zyx: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """See ``ScanReader``."""
        z, y, x = voxels_zyx.T
        return np.asarray(self.array[z, y, x])


def draw_pair(
    scan: Tensor, spacing_mm: float, options: ViewOptions, rng: np.random.Generator
) -> tuple[Tensor, PairPlan]:
    """(2, Z, Y, X) HU of two views of a scan (Z, Y, X), and their plan."""
    plan = plan_pair(ArrayScan(scan.numpy()), spacing_mm, options, rng)
    return torch.stack([view.draw(AIR_HU) for view in plan.views]), plan
