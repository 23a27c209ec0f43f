"""One view before it is drawn: the part of the scan that it needs and how it lies in it.

Planning is cheap and needs the scan's file; drawing is the costly part and needs only the plan. So loaders plan, and
the device that trains draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.localize.pretrain.scan import Scan
from medlsam.localize.pretrain.view_transform import Frame


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """A view that can be drawn on any device.

    Attributes:
        block: (Z, Y, X) the part of the scan that the view touches, as stored: HU, or codes.
        frame: the map from view voxels to voxels of the block.
        keep: (start, stop) along z, y, x of the view: what lies beyond is cut off by the field of view.
        levels_hu: (256,) HU of each code; None where the block holds HU. An array, for it travels between processes.
    """

    block: Tensor
    frame: Frame
    keep: tuple[tuple[int, int], ...]
    levels_hu: NDArray[np.float32] | None = None

    @property
    def hu(self) -> Tensor:
        """(Z, Y, X) HU of the block, where it is."""
        return self.block if self.levels_hu is None else hu_of(self.block, self.levels_hu)

    def draw(self, fill: float) -> Tensor:
        """(Z, Y, X) HU of the view, where the block is; outside the scan and beyond the cuts ``fill``."""
        drawn = self.frame.draw(self.hu, fill)
        (z0, z1), (y0, y1), (x0, x1) = self.keep
        view = torch.full_like(drawn, fill)
        view[z0:z1, y0:y1, x0:x1] = drawn[z0:z1, y0:y1, x0:x1]
        return view

    def uncut(self, points: np.ndarray) -> np.ndarray:
        """(N,) boolean: which view voxels (N, 3), (x, y, z), the cuts have left."""
        nearest = np.rint(points)[:, ::-1]
        low, high = np.array(self.keep).T
        return np.asarray(((nearest >= low) & (nearest < high)).all(axis=-1))


def plan_view(scan: Scan, frame: Frame, keep: tuple[tuple[int, int], ...]) -> ViewPlan:
    """Cut out of a scan what a view needs.

    Args:
        scan: only the block is read.
        frame: from view voxels to voxels of the scan.
        keep: see ``ViewPlan``.
    """
    low, high = frame.reach()
    size = np.array(scan.shape_zyx[::-1])
    # One voxel more on either side, so that interpolation at the block's border is that in the scan.
    start = np.clip(np.floor(low).astype(int) - 1, 0, size - 1)
    stop = np.clip(np.ceil(high).astype(int) + 2, start + 1, size)
    (x0, y0, z0), (x1, y1, z1) = start.tolist(), stop.tolist()
    block, levels_hu = scan.stored((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))
    return ViewPlan(torch.from_numpy(block), replace(frame, centre=frame.centre - start), keep, levels_hu)


def hu_of(codes: Tensor, levels_hu: NDArray[np.float32]) -> Tensor:
    """HU of uint8 codes: float32 of their shape (any), on their device; ``levels_hu`` (256,) is that of each code."""
    levels = torch.from_numpy(levels_hu).to(codes.device)
    return levels.index_select(0, codes.flatten().int()).view(codes.shape)
