"""Whole scans by a network that is made by hand: what it says comes to every voxel of the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medlsam.geometry import Grid
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.lesion.inception.segment import LesionNetwork, segment_scan
from medlsam.volume import Image

PLAN = ScanPlan((2.0, 2.0, 3.0), (-100.0, 200.0), 0.0, 100.0, (16, 16, 16), ((3, "cyst"), (300, "node")))
C, S = float(np.cos(0.3)), float(np.sin(0.3))


class Bright(nn.Module):
    """Class 2 where the scan is brighter than its mean HU, class 1 elsewhere."""

    def forward(self, windows: Tensor) -> Tensor:
        return torch.cat([torch.full_like(windows, -9.0), -9 * windows, 9 * windows], 1)


@pytest.mark.parametrize(
    ("shape", "spacing", "direction"),
    [
        ((7, 40, 33), (2.0, 2.0, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
        ((7, 40, 33), (0.7, 0.9, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
        ((31, 9, 12), (3.7, 4.1, 1.1), (0, 1, 0, 0, 0, -1, 1, 0, 0)),
        ((20, 30, 25), (1.3, 1.3, 2.5), (C, -S, 0, S, C, 0, 0, 0, 1)),
        ((1, 1, 1), (1.0, 1.0, 1.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)),
    ],
)
def test_every_voxel_has_the_answer_of_its_place(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], direction: tuple[float, ...]
) -> None:
    network = LesionNetwork(Bright(), PLAN, torch.device("cpu"))  # type: ignore[arg-type]
    grid = Grid(shape, spacing, (12.0, -30.0, 7.0), direction)
    hu = np.full(shape, 150, np.int16)
    everywhere = segment_scan(Image(hu, grid), [network])
    assert everywhere.grid == grid
    # What lies beyond the scan is air, here of class 1. It may come into the outer voxels of an oblique scan only:
    # the network's grid surrounds it.
    seen = everywhere.array if grid.is_axis_aligned else everywhere.array[:, 2:-2, 2:-2]
    assert np.unique(seen).tolist() == [300]
    hu[: shape[0] // 2] = -100
    halves = segment_scan(Image(hu, grid), [network]).array
    expected = np.where(hu > 0, 300, 3)
    # Half a voxel of the coarser grid at the step may be either.
    assert (halves == expected).mean() > 0.85
    assert (halves[0] == expected[0]).mean() > 0.85
    assert (halves[-1] == expected[-1]).mean() > 0.85
