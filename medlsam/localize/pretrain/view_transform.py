"""A view of a scan: which part of the scan it needs, and where its voxels lie in it.

A ``Frame`` is the map from view voxels to scan voxels: rotation, stretch, shift and a smooth bend. A ``ViewPlan`` adds
the block of the scan that the view touches. Planning is cheap and needs the scan's file; drawing is costly and needs
only the plan. So loaders plan, and the device that trains draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor

#: Control points per axis of the bend.
CONTROL_POINTS = 5


class ScanReader(Protocol):
    """A scan on an isotropic grid of which parts are read.

    The scans of a pool (``medlsam.pool.packed_scan``) unpack only the pages that hold a part. Others, such as an array
    in memory, give the same views.
    """

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        ...

    def stored(
        self, start_zyx: Sequence[int], shape_zyx: Sequence[int]
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Copy a block (Z, Y, X) inside the scan, as it is stored.

        Returns:
            HU and None; or uint8 codes and the HU (256,) of each.
        """
        ...

    def values_at(self, voxels_zyx: NDArray[np.integer[Any]]) -> NDArray[Any]:
        """Read the HU (N,) of voxels (N, 3) inside the scan."""
        ...


@dataclass(frozen=True, eq=False)
class Frame:
    """The map from view voxels to scan voxels; both are (x, y, z) and continuous.

    Attributes:
        shape_zyx: voxels of the view.
        to_scan: (3, 3): offsets from the view's centre to offsets in the scan.
        centre: (3,) scan voxel at the view's centre.
        bend: (3, K, K, K) float32 displacements in scan voxels, channels (x, y, z), interpolated linearly; None for
            none.
    """

    shape_zyx: tuple[int, int, int]
    to_scan: np.ndarray
    centre: np.ndarray
    bend: np.ndarray | None = None

    @property
    def _last(self) -> np.ndarray:
        return np.array(self.shape_zyx[::-1]) - 1

    def _bend_at(self, points: np.ndarray) -> np.ndarray:
        if self.bend is None:
            return np.zeros_like(points)
        where = torch.as_tensor(2 * points / self._last - 1, dtype=torch.float32)
        bend = torch.from_numpy(self.bend)[None]
        found = F.grid_sample(bend, where[None, :, None, None], align_corners=True, padding_mode="border")
        return found[0, :, :, 0, 0].T.double().numpy()

    def to_places(self, points: np.ndarray) -> np.ndarray:
        """Map (N, 3) view voxels to scan voxels."""
        straight = (points - self._last / 2) @ self.to_scan.T + self.centre
        return np.asarray(straight + self._bend_at(points))

    def to_points(self, places: np.ndarray) -> np.ndarray:
        """Map (N, 3) scan voxels to view voxels; fixed-point steps undo the bend to well under 0.05 voxel."""
        inverse = np.linalg.inv(self.to_scan).T
        points = (places - self.centre) @ inverse + self._last / 2
        for _ in range(0 if self.bend is None else 16):
            points = (places - self.centre - self._bend_at(points)) @ inverse + self._last / 2
        return np.asarray(points)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bound the scan voxels of the view: low and high corner, (3,) each."""
        half = np.abs(self.to_scan) @ (self._last / 2)
        if self.bend is not None:
            half = half + np.abs(self.bend).max(axis=(1, 2, 3))
        return self.centre - half, self.centre + half

    def draw(self, scan: Tensor, fill: float) -> Tensor:
        """Sample a scan (Z, Y, X) at the view's voxels, on the scan's device; outside the scan ``fill``."""
        z, y, x = self.shape_zyx
        # The few numbers are computed here and sent, the many on the scan's device.
        device = scan.device
        axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in (z, y, x)]
        matrix = torch.as_tensor(self.to_scan, dtype=torch.float32).to(device)
        place = (
            axes[0][:, None, None, None] * matrix[:, 2]
            + axes[1][None, :, None, None] * matrix[:, 1]
            + axes[2][None, None, :, None] * matrix[:, 0]
            + torch.as_tensor(self.centre, dtype=torch.float32).to(device)
        )
        if self.bend is not None:
            control = torch.from_numpy(self.bend)[None].to(device)
            bend = F.interpolate(control, self.shape_zyx, mode="trilinear", align_corners=True)
            place = place + bend[0].permute(1, 2, 3, 0)
        sizes = torch.tensor(scan.shape[::-1], dtype=torch.float32).to(device)
        # Zero padding stands for the fill value, so values are shifted by it and back.
        sampled = F.grid_sample(
            (scan.float() - fill)[None, None], ((2 * place + 1) / sizes - 1)[None], align_corners=False
        )
        return sampled[0, 0] + fill

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Say which points (N, 3), in view voxels, lie in the view: (N,) boolean."""
        return np.asarray(((points >= 0) & (points <= self._last)).all(axis=-1))


def _rotation(angles: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        matrix = matrix @ turn
    return matrix


def random_frame(
    shape_zyx: tuple[int, int, int],
    centre: np.ndarray,
    rotation_deg: float,
    scale: float,
    bend_voxels: float,
    rng: np.random.Generator,
) -> Frame:
    """Draw a frame around a scan voxel.

    Args:
        shape_zyx: voxels of the view.
        centre: (3,) scan voxel (x, y, z).
        rotation_deg: largest rotation about each axis.
        scale: largest relative stretch overall; half of it per axis besides.
        bend_voxels: standard deviation of the bend's control points, scan voxels; 0 for none.
        rng: the only source of chance.
    """
    angles = np.deg2rad(rng.uniform(-rotation_deg, rotation_deg, 3))
    overall = 1 + rng.uniform(-scale, scale)
    single = 1 + rng.uniform(-scale, scale, 3) / 2
    bend = None
    if bend_voxels > 0:
        control = rng.normal(0, bend_voxels, (3, CONTROL_POINTS, CONTROL_POINTS, CONTROL_POINTS))
        # Neighbouring control points may not cross, or the bend could not be undone.
        bend = control.clip(-2 * bend_voxels, 2 * bend_voxels).astype(np.float32)
    return Frame(shape_zyx, _rotation(angles) * (overall * single)[None], centre, bend)


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """A view still to be drawn, on any device.

    Attributes:
        block: (Z, Y, X) the part of the scan that the view touches, as stored: HU or codes.
        frame: the map from view voxels to voxels of the block.
        keep: (start, stop) along z, y, x of the view; the simulated field of view cuts off the rest.
        levels_hu: (256,) HU of each code; None where the block holds HU. An array, since it travels between processes.
    """

    block: Tensor
    frame: Frame
    keep: tuple[tuple[int, int], ...]
    levels_hu: NDArray[np.float32] | None = None

    @property
    def hu(self) -> Tensor:
        """HU of the block (Z, Y, X), on its device."""
        return self.block if self.levels_hu is None else hu_of(self.block, self.levels_hu)

    def draw(self, fill: float) -> Tensor:
        """Draw the HU of the view (Z, Y, X) on the block's device; outside the scan and beyond the cuts ``fill``."""
        drawn = self.frame.draw(self.hu, fill)
        (z0, z1), (y0, y1), (x0, x1) = self.keep
        view = torch.full_like(drawn, fill)
        view[z0:z1, y0:y1, x0:x1] = drawn[z0:z1, y0:y1, x0:x1]
        return view

    def uncut(self, points: np.ndarray) -> np.ndarray:
        """Say which view voxels (N, 3), (x, y, z), the cuts have left: (N,) boolean."""
        nearest = np.rint(points)[:, ::-1]
        low, high = np.array(self.keep).T
        return np.asarray(((nearest >= low) & (nearest < high)).all(axis=-1))


def plan_view(scan: ScanReader, frame: Frame, keep: tuple[tuple[int, int], ...]) -> ViewPlan:
    """Cut out the block of a scan that a view needs.

    Args:
        scan: only the block is read.
        frame: from view voxels to voxels of the scan.
        keep: see ``ViewPlan``.
    """
    low, high = frame.bounds()
    size = np.array(scan.shape_zyx[::-1])
    # One voxel more on either side, so that interpolation at the block's border is that in the scan.
    start = np.clip(np.floor(low).astype(int) - 1, 0, size - 1)
    stop = np.clip(np.ceil(high).astype(int) + 2, start + 1, size)
    (x0, y0, z0), (x1, y1, z1) = start.tolist(), stop.tolist()
    block, levels_hu = scan.stored((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))
    return ViewPlan(torch.from_numpy(block), replace(frame, centre=frame.centre - start), keep, levels_hu)


def hu_of(codes: Tensor, levels_hu: NDArray[np.float32]) -> Tensor:
    """Look up the HU of uint8 codes, on their device: float32 of the same shape, ``levels_hu`` (256,) at each code."""
    levels = torch.from_numpy(levels_hu).to(codes.device)
    return levels.index_select(0, codes.flatten().int()).view(codes.shape)
