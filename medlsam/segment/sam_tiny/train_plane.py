"""A plane of a scan, turned and mirrored, in which the boxes of training samples are upright."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medlsam.segment.sam_tiny.crops import CropFrame


class Pictured(Protocol):
    """A scan, or a part of one, to cut crops from."""

    @property
    def image(self) -> NDArray[np.int16]:
        """(Z, Y, X) HU."""

    @property
    def spacing_zyx(self) -> tuple[float, float, float]:
        """Spacing, mm."""


class TurnedPlane:
    """A plane of a case with turned millimetre coordinates, in which boxes are upright in the crop."""

    def __init__(self, case: Pictured, axis: int, angle: float, mirrored: bool) -> None:
        self.case, self.axis, self.angle, self.mirrored = case, axis, angle, mirrored
        v, u = (case.spacing_zyx[a] for a in range(3) if a != axis)
        self.spacing_uv = (u, v)
        # a crop of 1 mm at the plane's first pixel: its coordinates are the turned millimetres
        self.unit = CropFrame((0.0, 0.0), 1.0, self.spacing_uv, angle, mirrored)

    def frame(self, center: NDArray[np.float64], side: float) -> CropFrame:
        """Place a crop of ``side`` mm around a centre, (2,) turned mm."""
        u, v = self.unit.to_pixels(center + 0.5)
        return CropFrame((float(u), float(v)), side, self.spacing_uv, self.angle, self.mirrored)

    def tight_box(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Find the box, (4,) turned mm, of a mask (rows, columns) that is not empty."""
        pixels = np.argwhere(mask)[:, ::-1]
        corners = [pixels + np.array([du, dv]) for du in (-0.5, 0.5) for dv in (-0.5, 0.5)]
        return self._around(np.concatenate(corners))

    def corners_box(self, u0: int, v0: int, u1: int, v1: int) -> NDArray[np.float64]:
        """Find the box, (4,) turned mm, around the pixels from ``u0, v0`` to before ``u1, v1``."""
        return self._around(np.array([(u - 0.5, v - 0.5) for u in (u0, u1) for v in (v0, v1)]))

    def _around(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        points = self.unit.from_pixels(pixels) - 0.5
        return np.concatenate([points.min(axis=0), points.max(axis=0)])
