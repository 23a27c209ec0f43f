"""A scan and its label maps on one axis-aligned grid, as pictures need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.volume import Image, LabelMap, resample, to_canonical


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn, on one grid with identity direction.

    Attributes:
        image: scan (Z, Y, X), HU.
        labels: label map on the same grid, or None.
        reference: label map to compare with, on the same grid, or None.
        names: label value to structure.
    """

    image: Image
    labels: NDArray[Any] | None = None
    reference: NDArray[Any] | None = None
    names: Mapping[int, str] | None = None

    def mask(self, name: str, of: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """(Z, Y, X) mask of a structure, or None where there is none of it."""
        values = [value for value, known in (self.names or {}).items() if known == name]
        if of is None or not values:
            return None
        found: NDArray[np.bool_] = np.isin(of, values)
        return found if found.any() else None


def scene(
    image: Image,
    labels: LabelMap | None = None,
    names: Mapping[int, str] | None = None,
    reference: LabelMap | None = None,
) -> Scene:
    """Bring a scan and its label maps (any axis order, any obliquity) onto one axis-aligned grid.

    Args:
        image: the scan, HU.
        labels: label map in its own geometry; what lies outside of the scan is dropped.
        names: label value to structure, for both label maps.
        reference: label map to draw beside ``labels``.
    """
    canonical = to_canonical(image)

    def onto(volume: LabelMap | None) -> NDArray[Any] | None:
        return None if volume is None else resample(volume, canonical.grid).array

    return Scene(canonical, onto(labels), onto(reference), names)
