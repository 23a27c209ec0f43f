"""Masks of the canonical grid in the scan's own voxels; a voxel that no edit changed stays what it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.pipeline.session.mask import MaskPart
from medlsam.pipeline.session.values import Click
from medlsam.volume import from_canonical


@dataclass(frozen=True, eq=False)
class Change:
    """What edits did to one structure.

    Attributes:
        value: its label value.
        start: the mask that the session began with.
        mask: the mask now.
        clicks: that hold.
    """

    value: int
    start: MaskPart
    mask: MaskPart
    clicks: tuple[Click, ...]


def own_labels(
    labels: NDArray[np.generic], changes: Iterable[Change], canonical: Grid, original: Grid
) -> NDArray[np.generic]:
    """Write changed masks into a label array.

    An oblique scan is segmented on a finer grid, whose voxels do not correspond to its own: only what edits added or
    took away is carried over, and each clicked voxel is as it was clicked.

    Args:
        labels: (Z, Y, X) in the scan's own geometry, as the session began.
        changes: in the order that they were edited in; where they overlap, the later has the voxel.
        canonical: grid of the masks.
        original: grid of ``labels``.

    Returns:
        (Z, Y, X), a new array.
    """
    made, changes = labels.copy(), list(changes)
    for own in changes:
        removed = _back(own.start.minus(own.mask), canonical, original)
        made[removed & (labels == own.value)] = 0
    for own in changes:
        # All of its voxels, not only the new ones: a structure edited earlier may have taken some.
        mine = labels == own.value
        mine &= ~_back(own.start.minus(own.mask), canonical, original)
        mine |= _back(own.mask.minus(own.start), canonical, original)
        made[mine] = own.value
    for own in changes:
        for click in own.clicks:
            place = _voxel(click, original)
            if place is not None:
                if click.inside:
                    made[place] = own.value
                elif made[place] == own.value:
                    made[place] = 0
    return made


def _back(mask: MaskPart, canonical: Grid, original: Grid) -> NDArray[np.bool_]:
    if not mask.array.size:
        return np.zeros(original.shape_zyx, bool)
    return from_canonical(mask.on(canonical).astype(np.uint8), canonical, original) > 0


def _voxel(click: Click, grid: Grid) -> tuple[int, ...] | None:
    place = np.rint(grid.lps_to_ijk(click.point)).astype(int)[::-1]
    inside = (place >= 0).all() and (place < grid.shape_zyx).all()
    return tuple(int(n) for n in place) if inside else None


def label_values(names: Mapping[int, str], wanted: Iterable[str]) -> dict[str, int]:
    """Give each structure its label value; a new one the next that is free."""
    values = {name: value for value, name in names.items()}
    for name in wanted:
        if name not in values:
            values[name] = max(values.values(), default=0) + 1
    return values
