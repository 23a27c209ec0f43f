"""One lesion of a phantom, with the truth about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid, Vector
from medlsam.phantoms.generate import Phantom
from medlsam.phantoms.lesions.shape import LesionShape
from medlsam.volume import LabelMap


@dataclass(frozen=True)
class PhantomLesion:
    """A lesion as it was drawn.

    Attributes:
        id: from 1; the same lesion has the same id at all visits, and it is its value in the lesion label map.
        kind: ``KINDS`` has them: MSWAL's classes in the singular, ``lung_tumor`` and ``lymph_node``.
        organ: the structure of the phantom that it lies in, or beside (``beside``).
        center: LPS mm.
        shape: its exact shape about the centre.
        hu: inside, before blur and noise.
        contrast: ``hu`` less that of the tissue around it.
        beside: whether it lies beside its organ, as lymph nodes do.
    """

    id: int
    kind: str
    organ: str
    center: Vector
    shape: LesionShape
    hu: float
    contrast: float
    beside: bool = False

    @property
    def longest_mm(self) -> float:
        """The longest axial diameter."""
        return self.shape.measures[0]

    @property
    def perpendicular_mm(self) -> float:
        """The longest diameter perpendicular to it in the same slice: the short axis."""
        return self.shape.measures[1]

    @property
    def volume_ml(self) -> float:
        """The volume."""
        return self.shape.measures[2]

    @property
    def form(self) -> str:
        """``sphere``, ``ellipsoid`` or ``lobulated``."""
        if not self.shape.is_ellipsoid:
            return "lobulated"
        return "sphere" if len(set(self.shape.radii_mm)) == 1 else "ellipsoid"

    def distance_on(
        self, grid: Grid, margin_mm: float = 3.0
    ) -> tuple[tuple[slice, slice, slice], NDArray[np.float64]]:
        """The distance to the surface (mm, negative inside) on the part of a grid that holds the lesion.

        Args:
            grid: any.
            margin_mm: how much more than the lesion the part holds.

        Returns:
            The part as slices (Z, Y, X), empty ones where the lesion is outside the grid; and the distances there.
        """
        half = self.shape.half_extent() + margin_mm
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
        ijk = grid.lps_to_ijk(corners + np.asarray(self.center))
        first = np.maximum(np.floor(ijk.min(axis=0)).astype(int)[::-1], 0)
        last = np.minimum(np.ceil(ijk.max(axis=0)).astype(int)[::-1] + 1, grid.shape_zyx)
        part = tuple(slice(int(a), max(int(a), int(b))) for a, b in zip(first, last, strict=True))
        k, j, i = np.meshgrid(*(np.arange(s.start, s.stop) for s in part), indexing="ij")
        points = grid.ijk_to_lps(np.stack([i, j, k], axis=-1))
        return (part[0], part[1], part[2]), self.shape.distance(points - np.asarray(self.center))

    def mask(self, grid: Grid) -> NDArray[np.bool_]:
        """bool (Z, Y, X): the voxels of a grid whose centres lie inside."""
        out = np.zeros(grid.shape_zyx, bool)
        part, distance = self.distance_on(grid)
        out[part] = distance < 0
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "id": self.id,
            "kind": self.kind,
            "organ": self.organ,
            "beside": self.beside,
            "form": self.form,
            "center": [round(v, 3) for v in self.center],
            "longest_mm": round(self.longest_mm, 3),
            "perpendicular_mm": round(self.perpendicular_mm, 3),
            "volume_ml": round(self.volume_ml, 4),
            "hu": round(self.hu, 1),
            "contrast": round(self.contrast, 1),
        }


@dataclass(frozen=True)
class LesionPhantom(Phantom):
    """A made-up patient with lesions.

    Attributes:
        lesions: those that are there, by id.
        lesion_labels: uint8 on the image's grid, the value is the lesion's id. ``labels`` keeps the organ under a
            lesion inside it; a node beside an organ has no organ's label.
        visit: the number of the visit, from 0.
    """

    lesions: tuple[PhantomLesion, ...]
    lesion_labels: LabelMap
    visit: int = 0
