"""Label maps in the values of a dataset: masks put together, foreign values renumbered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.volume.volume import LabelMap


def numbered(structures: Iterable[str]) -> dict[int, str]:
    """Value to structure, counted from 1 in the order given."""
    return dict(enumerate(structures, start=1))


def renumbered(labels: LabelMap, own: Mapping[int, str], names: Mapping[int, str]) -> LabelMap:
    """A label map in other values.

    Args:
        labels: (Z, Y, X), in the values of ``own``.
        own: value to structure in the source.
        names: value to structure in the dataset; holds every structure of ``own``.

    Raises:
        VolumeError: a value has no name in ``own``.
    """
    values = np.unique(labels.array)
    unknown = [int(value) for value in values if value and int(value) not in own]
    if unknown:
        known = ", ".join(f"{value} {name}" for value, name in sorted(own.items()))
        raise VolumeError(
            f"{labels.path}: value {', '.join(map(str, unknown))} is no structure of this source (known: {known})"
        )
    target = {name: value for value, name in names.items()}
    table = np.zeros(max(int(values.max()), *own) + 1, _type_for(names))
    for value, name in own.items():
        table[value] = target[name]
    return LabelMap(table[labels.array], labels.grid, labels.source)


class MaskMerger:
    """Puts masks together to one label map, a mask at a time.

    Where two overlap, the one that came first stays, and the voxels are counted: a label map holds one structure a
    voxel.
    """

    def __init__(self, grid: Grid, names: Mapping[int, str]) -> None:
        self.grid = grid
        self._values = {name: value for value, name in names.items()}
        self._array = np.zeros(grid.shape_zyx, _type_for(names))
        self._shared: dict[str, int] = {}
        self._empty: list[str] = []

    def add(self, name: str, mask: NDArray[np.bool_]) -> None:
        """Add a structure.

        Args:
            name: one of the names.
            mask: (Z, Y, X) on the grid.
        """
        if not mask.any():
            self._empty.append(name)
            return
        taken = mask & (self._array != 0)
        if shared := int(taken.sum()):
            self._shared[name] = shared
        self._array[mask & ~taken] = self._values[name]

    @property
    def labels(self) -> LabelMap:
        """All masks so far."""
        return LabelMap(self._array, self.grid)

    @property
    def empty(self) -> tuple[str, ...]:
        """Structures whose mask had no voxel."""
        return tuple(self._empty)

    @property
    def notes(self) -> tuple[str, ...]:
        """Where masks overlapped."""
        return tuple(
            f"{count} voxels of {name} were in an earlier mask, too, and stay there"
            for name, count in self._shared.items()
        )


def _type_for(names: Mapping[int, str]) -> type[np.unsignedinteger]:
    return np.uint8 if max(names, default=0) <= 255 else np.uint16
