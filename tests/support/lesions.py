"""Lesions with chosen figures, and two visits whose anatomy is known."""

from __future__ import annotations

import numpy as np

from medlsam.geometry import Box
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.measure.lesions import LesionMeasurement


def lesion(
    number: int,
    longest: float,
    kind: str = "m,liver",
    short: float | None = None,
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    slice_mm: float = 3.0,
    cut_off: bool = False,
    voxels: int | None = None,
) -> Lesion:
    """A ball-like lesion of diameters in mm."""
    x, y, z = center
    half = longest / 2
    short = longest if short is None else short
    volume = 4 / 3 * np.pi * half**3 / 1000
    line = ((x - half, y, z), (x + half, y, z))
    across = ((x, y - short / 2, z), (x, y + short / 2, z))
    box = Box((x - half, y - short / 2, z - half), (x + half, y + short / 2, z + half))
    return Lesion(
        LesionMeasurement(
            id=number, value=number, voxels=round(volume * 1000) if voxels is None else voxels, volume_ml=volume,
            center=center, box=box, slice=10, first_slice=8, last_slice=12, slice_numbers="index", slice_mm=slice_mm,
            longest_mm=longest, perpendicular_mm=short, longest_line=line, perpendicular_line=across,
            hcuch_major_mm=longest, hcuch_minor_mm=short, cut_off=cut_off,
        ),
        Kind.parse(kind),
    )  # fmt: skip
