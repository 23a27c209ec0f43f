"""Where the voxels of an augmented view lie in its scan: rotation, stretch, shift and a smooth bend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

#: Control points per axis of the bend.
CONTROL_POINTS = 5


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
        """(N, 3) view voxels to scan voxels."""
        straight = (points - self._last / 2) @ self.to_scan.T + self.centre
        return np.asarray(straight + self._bend_at(points))

    def to_points(self, places: np.ndarray) -> np.ndarray:
        """(N, 3) scan voxels to view voxels. The bend is undone by fixed-point steps, exact to 0.05 voxel."""
        inverse = np.linalg.inv(self.to_scan).T
        points = (places - self.centre) @ inverse + self._last / 2
        for _ in range(0 if self.bend is None else 10):
            points = (places - self.centre - self._bend_at(points)) @ inverse + self._last / 2
        return np.asarray(points)

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """The box (3,), (3,) of scan voxels that the view's voxels lie in."""
        half = np.abs(self.to_scan) @ (self._last / 2)
        if self.bend is not None:
            half = half + np.abs(self.bend).max(axis=(1, 2, 3))
        return self.centre - half, self.centre + half

    def draw(self, scan: Tensor, fill: float) -> Tensor:
        """(Z, Y, X) values of a (Z, Y, X) scan at the view's voxels, where the scan is; outside it ``fill``."""
        z, y, x = self.shape_zyx
        # The few numbers are worked out here and sent; the many on the scan's device.
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
        """(N,) boolean: which view voxels are in the view."""
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
    """A random frame around a scan voxel.

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
