"""Which organ a lesion belongs to: 3DLAND's first phase.

A lesion belongs to the organ that it overlaps or lies against. Organ masks of automatic methods often leave lesions
out, so not only the lesion's own voxels count but also a shell around it: a cyst that a liver mask spares is surrounded
by liver. Where no organ has a share, the nearest one is named, with its distance; where two have similar shares, both
are named.

3DLAND's published code takes an overlap above 0.1, and up to 20 pixels of distance; here distances are millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt

from medlsam.errors import GeometryError
from medlsam.geometry import Grid, tight_slices
from medlsam.volume import LabelMap, resample

Relation = Literal["inside", "near", "none"]


@dataclass(frozen=True)
class OrganRule:
    """When a lesion counts as an organ's.

    Attributes:
        shell_mm: thickness of the shell around the lesion that counts with it; one voxel at least, so that it has the
            slices above and below in thick ones too.
        least_share: of lesion and shell, in an organ, for it to be the lesion's.
        ambiguous: an organ with at least this part of the first one's share is named beside it.
        near_mm: the farthest that a lesion may lie from the organ that it is given to.
    """

    shell_mm: float = 3.0
    least_share: float = 0.1
    ambiguous: float = 0.5
    near_mm: float = 30.0


@dataclass(frozen=True)
class LesionOrgan:
    """The organ of one lesion.

    Attributes:
        organ: its name; None where no organ is near.
        relation: ``inside`` (it has a share of the lesion or its shell), ``near`` (it is the nearest), or ``none``.
        distance_mm: between the faces of their nearest voxels; 0 where they touch or overlap, None for ``none``.
        shares: of the lesion and its shell in each organ that has any, the largest first.
        overlap: of the lesion's own voxels in ``organ``.
        ambiguous_with: organs that it may as well belong to.
    """

    organ: str | None
    relation: Relation
    distance_mm: float | None
    shares: Mapping[str, float]
    overlap: float
    ambiguous_with: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "organ": self.organ,
            "relation": self.relation,
            "distance_mm": None if self.distance_mm is None else round(self.distance_mm, 1),
            "overlap": round(self.overlap, 4),
            "shares": {name: round(share, 4) for name, share in self.shares.items()},
            "ambiguous_with": list(self.ambiguous_with),
        }


@dataclass(frozen=True, eq=False)
class Organs:
    """Organ masks on the grid of a scan.

    Attributes:
        labels: (Z, Y, X) label values on ``grid``.
        names: value to organ.
        grid: of the scan.
    """

    labels: NDArray[Any]
    names: Mapping[int, str]
    grid: Grid

    @classmethod
    def of(cls, labels: LabelMap, names: Mapping[int, str], grid: Grid) -> Organs:
        """Bring a label map in any geometry onto the grid of a scan.

        Raises:
            GeometryError: it does not overlap the scan.
        """
        if labels.grid.box.intersection(grid.box) is None:
            raise GeometryError(
                f"{labels.path or 'the organs'}: they lie outside of the scan; are they of another one?"
            )
        array = labels.array if labels.grid.matches(grid, 1e-3) else resample(labels, grid).array
        return cls(array, dict(names), grid)


def lesion_organ(lesion: NDArray[np.bool_], organs: Organs, rule: OrganRule | None = None) -> LesionOrgan:
    """Find the organ of a lesion.

    Args:
        lesion: (Z, Y, X) on the organs' grid, not empty.
        organs: masks; values without a name do not count.
        rule: shares and distances.

    Raises:
        GeometryError: the mask is empty or of another shape.
    """
    rule = rule or OrganRule()
    if lesion.shape != organs.labels.shape or not lesion.any():
        raise GeometryError(
            f"a lesion of {lesion.shape} with {int(lesion.sum())} voxels and organs of {organs.labels.shape}: "
            "they need one grid, and at least one voxel"
        )
    spacing = organs.grid.spacing_xyz[::-1]
    part = _around(lesion, spacing, rule.shell_mm)
    near, labels = lesion[part], organs.labels[part]
    around = binary_dilation(near) | (distance_transform_edt(~near, sampling=spacing) <= rule.shell_mm)
    shares = _shares(labels[around], organs.names)
    if shares and (best := next(iter(shares.items())))[1] >= rule.least_share:
        own = _shares(labels[near], organs.names).get(best[0], 0.0)
        others = tuple(
            name for name, share in shares.items() if name != best[0] and share >= rule.ambiguous * best[1]
        )
        return LesionOrgan(best[0], "inside", 0.0, shares, own, others)
    return _nearest(lesion, organs, rule, shares)


def _nearest(
    lesion: NDArray[np.bool_], organs: Organs, rule: OrganRule, shares: Mapping[str, float]
) -> LesionOrgan:
    """Find the nearest organ within ``rule.near_mm``."""
    spacing = organs.grid.spacing_xyz[::-1]
    part = _around(lesion, spacing, rule.near_mm)
    distance = _gaps(lesion[part], spacing)
    labels = organs.labels[part]
    within = (labels > 0) & (distance <= rule.near_mm)
    found: dict[str, float] = {}
    for value, name in organs.names.items():
        own = distance[within & (labels == value)]
        if own.size:
            found[name] = float(own.min())
    if not found:
        return LesionOrgan(None, "none", None, shares, 0.0)
    # several may touch it: the one with more of the shell is the nearer
    first, *rest = sorted(found, key=lambda name: (found[name], -shares.get(name, 0.0)))
    twins = tuple(name for name in rest if found[name] - found[first] < min(spacing))
    return LesionOrgan(first, "near", found[first], shares, 0.0, twins)


def _gaps(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """From each voxel to the nearest one of a mask: mm between their faces, 0 for neighbours."""
    nearest = distance_transform_edt(~mask, sampling=spacing, return_distances=False, return_indices=True)
    apart = np.abs(nearest - np.indices(mask.shape)) - 1
    steps = np.maximum(apart, 0) * np.reshape(spacing, (-1, 1, 1, 1))
    return np.asarray(np.sqrt((steps**2).sum(axis=0)))


def _shares(labels: NDArray[Any], names: Mapping[int, str]) -> dict[str, float]:
    values, counts = np.unique(labels, return_counts=True)
    found = {
        names[int(v)]: int(n) / labels.size for v, n in zip(values, counts, strict=True) if int(v) in names
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _around(mask: NDArray[np.bool_], spacing: tuple[float, ...], margin_mm: float) -> tuple[slice, ...]:
    """Bound a mask with a margin, for the distances around it."""
    pads = [int(np.ceil(margin_mm / s)) + 1 for s in spacing]
    return tuple(
        slice(max(span.start - pad, 0), span.stop + pad)
        for span, pad in zip(tight_slices(mask), pads, strict=True)
    )
