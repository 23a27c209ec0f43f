"""What a widget shows: a scan on a canonical grid, the structures on it, and their colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.export.anatomy import colour_of
from medlsam.export.notebook.cells import Table
from medlsam.geometry import Box, Grid
from medlsam.results import Localization, Segmentation
from medlsam.volume import Image, LabelMap, resample, to_canonical


@dataclass(frozen=True, eq=False)
class Shown:
    """A scan and what is drawn on it.

    Attributes:
        image: on its canonical grid, HU.
        labels: (Z, Y, X) on that grid, uint8 or uint16: 0, or the number of a structure from 1.
        structures: their names; number n is ``structures[n - 1]``.
        table: what is said of them.
        boxes: of structures that have no mask, LPS mm; ``labels`` holds their faces.
        uncertain: structures whose box is drawn in dashes.
    """

    image: Image
    labels: NDArray[Any]
    structures: tuple[str, ...]
    table: Table
    boxes: Mapping[str, Box] = field(default_factory=dict)
    uncertain: frozenset[str] = frozenset()

    @property
    def colours(self) -> dict[str, str]:
        """Structure to its colour, ``#rrggbb``: that of every file that is written."""
        return {name: "#{:02x}{:02x}{:02x}".format(*colour_of(name)) for name in self.structures}

    @property
    def fullest_slice(self) -> int:
        """The axial slice with the most labelled voxels; the middle one where there are none."""
        counts = np.count_nonzero(self.labels, axis=(1, 2))
        return int(counts.argmax()) if counts.any() else len(counts) // 2

    def html(self) -> str:
        """The table, with each structure's colour."""
        return self.table.html(self.colours)

    def with_labels(self, labels: LabelMap, names: Mapping[int, str], table: Table) -> Shown:
        """The same scan with other masks."""
        array, structures = _numbered(_on(labels, self.image.grid), names)
        return replace(self, labels=array, structures=structures, table=table)


def shown_segmentation(segmentation: Segmentation, image: Image | None, table: Table) -> Shown:
    """A segmentation on its scan.

    Args:
        segmentation: with its label map in any geometry.
        image: the scan; the segmentation's own where it is None.
        table: what is said of the structures.

    Raises:
        UsageError: no scan.
    """
    canonical = to_canonical(_scan(segmentation.case, image, segmentation.image))
    bare = Shown(canonical, np.zeros(canonical.grid.shape_zyx, np.uint8), (), table)
    return bare.with_labels(segmentation.labels, segmentation.names, table)


def shown_localization(localization: Localization, image: Image | None, table: Table) -> Shown:
    """Located boxes on their scan.

    Args:
        localization: with boxes in LPS mm.
        image: the scan; the localization's own where it is None.
        table: what is said of the structures.

    Raises:
        UsageError: no scan.
    """
    canonical = to_canonical(_scan(localization.case, image, localization.image))
    present = [own for own in localization.structures.values() if own.present]
    boxes = {own.name: own.located_box for own in present if own.located_box is not None}
    labels = np.zeros(canonical.grid.shape_zyx, _type_for(len(boxes)))
    for number, box in enumerate(boxes.values(), start=1):
        _draw_faces(labels, box, canonical.grid, number)
    uncertain = frozenset(own.name for own in present if own.status == "uncertain")
    return Shown(canonical, labels, tuple(boxes), table, boxes, uncertain)


def _scan(case: str, given: Image | None, own: Image | None) -> Image:
    image = given if given is not None else own
    if image is None:
        raise UsageError(f"{case}: the result keeps no scan to show; give the scan as `image`")
    return image


def _on(labels: LabelMap, grid: Grid) -> NDArray[Any]:
    """(Z, Y, X) of labels on a canonical grid: turned where that is enough, else by nearest neighbour."""
    if labels.grid.is_axis_aligned:
        turned = to_canonical(labels)
        if turned.grid.matches(grid, tolerance_mm=1e-3):
            return turned.array
    return resample(labels, grid).array


def _numbered(array: NDArray[Any], names: Mapping[int, str]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Number the structures from 1: a viewer's table of colours has no gaps.

    A label without a name is not left out: it is shown under its value.
    """
    values = sorted(names)
    signed = not np.issubdtype(array.dtype, np.unsignedinteger)
    whole = array.astype(np.int64) if signed else array
    table = np.zeros(int(max(whole.max(initial=0), 0)) + 1, np.uint16)
    unnamed = len(values) + 1
    table[1:] = unnamed
    for number, value in enumerate(values, start=1):
        if 0 < value < len(table):
            table[value] = number
    numbers = table[np.maximum(whole, 0) if signed else whole]
    structures = [names[value] for value in values]
    odd = numbers == unnamed
    if signed:
        odd |= whole < 0
    for value in np.unique(whole[odd]):
        structures.append(f"label {value}, without a name")
        numbers[whole == value] = len(structures)
    return numbers.astype(_type_for(len(structures)), copy=False), tuple(structures)


def _type_for(count: int) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if count < 256 else np.uint16


def _draw_faces(labels: NDArray[Any], box: Box, grid: Grid, number: int) -> None:
    """Label the voxels just inside of a box's six faces; those that lie beyond the scan are left out."""
    low = np.ceil(grid.lps_to_ijk(box.min) - 1e-6).astype(int)[::-1]
    high = np.floor(grid.lps_to_ijk(box.max) + 1e-6).astype(int)[::-1]
    high = np.maximum(high, low)  # thinner than a voxel
    shape = np.asarray(labels.shape)
    inside = tuple(slice(max(int(a), 0), max(int(b) + 1, 0)) for a, b in zip(low, high, strict=True))
    for axis in range(3):
        for face in (int(low[axis]), int(high[axis])):
            if 0 <= face < shape[axis]:
                part: list[slice | int] = [*inside]
                part[axis] = face
                labels[tuple(part)] = number
