"""Lesions of a label map, one by one: which voxels are one lesion, its volume, its place and its diameters.

What is an instance is decided here and nowhere else: parts that are connected by faces, edges or corners (26
neighbours) and have at least 50 voxels, as in the HCUCH dataset; or the values of a map that has one for each lesion
already. Smaller ones are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box, Grid, Vector
from medlsam.measure.place import SliceNumbers, Slices, axial_axis, mask_center
from medlsam.measure.recist import Ends, hcuch_axes, recist_diameters
from medlsam.volume import Image, LabelMap
from medlsam.volume.components import number_components

#: Smaller parts are no lesions but slips of the pen (HCUCH).
LEAST_VOXELS = 50

#: ``connected``: the connected parts of each value. ``given``: each value is one lesion, in however many parts.
#: ``auto``: given where the map has more than one value, else connected.
Instances = Literal["auto", "given", "connected"]

#: The two ends of a line, LPS mm.
Line = tuple[Vector, Vector]


@dataclass(frozen=True, eq=False)
class LesionInstance:
    """One lesion of a label map.

    Attributes:
        id: its value where instances were given, else a number from 1: that of the part, whether or not others are too
            small, so that one lesion has one number whatever counts as small.
        value: in the label map.
        place: the tight bounds of its voxels in the array.
        mask: (Z, Y, X) boolean, cropped to ``place``.
    """

    id: int
    value: int
    place: tuple[slice, ...]
    mask: NDArray[np.bool_]

    @property
    def voxels(self) -> int:
        """How many it has."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class LesionMeasurement:
    """What was measured of one lesion. Places are LPS mm.

    Attributes:
        id: of the instance.
        value: in the label map.
        voxels: how many it has.
        volume_ml: voxels times their volume.
        center: the mean place of its voxels.
        box: around its voxels.
        slice: the axial slice of the longest diameter, counted as ``slice_numbers`` says.
        first_slice: the lowest number of its slices.
        last_slice: the highest.
        slice_numbers: ``instance``: DICOM instance numbers; ``index``: from the feet up, from 1.
        slice_mm: distance of the slices.
        longest_mm: longest axial diameter.
        perpendicular_mm: the short axis, perpendicular to it.
        longest_line: ends of the longest diameter.
        perpendicular_line: ends of the short axis.
        hcuch_major_mm: longer side of HCUCH's oriented box, and
        hcuch_minor_mm: its shorter side.
        cut_off: whether it reaches the first or last slice, so that it may go on outside.
        parts: of how many connected parts of at least ``LEAST_VOXELS`` it is made, at least 1. More than one where
            instances were given as several parts, or where the values are kinds of lesions, not lesions.
        mean_hu: of its voxels; None without a scan.
    """

    id: int
    value: int
    voxels: int
    volume_ml: float
    center: Vector
    box: Box
    slice: int
    first_slice: int
    last_slice: int
    slice_numbers: SliceNumbers
    slice_mm: float
    longest_mm: float
    perpendicular_mm: float
    longest_line: Line
    perpendicular_line: Line
    hcuch_major_mm: float
    hcuch_minor_mm: float
    cut_off: bool
    parts: int = 1
    mean_hu: float | None = None


def lesion_instances(
    labels: NDArray[Any], least_voxels: int = LEAST_VOXELS, instances: Instances = "auto"
) -> tuple[list[LesionInstance], int]:
    """The lesions of a label map, and how many were left out for being too small.

    Args:
        labels: (Z, Y, X) whole numbers or boolean, 0 is background.
        least_voxels: fewer are no lesion; 1 keeps everything.
        instances: what one lesion is. Of a map with several values that are kinds of lesions, not single ones, ask for
            ``connected``.

    Returns:
        By value; those of one value from the array's first slice on.

    Raises:
        UsageError: ``instances`` is none of those, or ``least_voxels`` is below 1.
    """
    if instances not in get_args(Instances):
        raise UsageError(f"instances: one of {', '.join(get_args(Instances))}, got {instances!r}")
    if least_voxels < 1:
        raise UsageError(f"least voxels of a lesion: 1 or more, got {least_voxels}")
    array = labels.astype(np.uint8) if labels.dtype == bool else labels
    places = [(value, place) for value, place in enumerate(find_objects(array), start=1) if place is not None]
    given = instances == "given" or (instances == "auto" and len(places) > 1)
    found: list[LesionInstance] = []
    small, number = 0, 0
    for value, place in places:
        mask = array[place] == value
        parts = [(place, mask)] if given else _connected(mask, place)
        for own, part in parts:
            number += 1
            if np.count_nonzero(part) < least_voxels:
                small += 1
                continue
            found.append(LesionInstance(value if given else number, value, own, part))
    return found, small


def _connected(
    mask: NDArray[np.bool_], place: tuple[slice, ...]
) -> list[tuple[tuple[slice, ...], NDArray[np.bool_]]]:
    """The connected parts of a mask cropped to ``place``: where each lies in the array, and its own cropped mask."""
    numbered, _ = number_components(mask)
    found = []
    for number, own in enumerate(find_objects(numbered), start=1):
        moved = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(place, own, strict=True))
        found.append((moved, numbered[own] == number))
    return found


def measure_lesions(
    labels: LabelMap,
    scan: Image | None = None,
    least_voxels: int = LEAST_VOXELS,
    instances: Instances = "auto",
) -> list[LesionMeasurement]:
    """Measure every lesion of a label map, in any orientation; axial slices are those nearest to it.

    Args:
        labels: the lesions.
        scan: gives mean HU and the slice numbers of a DICOM series; on the grid of ``labels``.
        least_voxels: see ``lesion_instances``.
        instances: see ``lesion_instances``.

    Raises:
        GeometryError: the scan lies on another grid.
    """
    if scan is not None and not scan.grid.matches(labels.grid):
        raise GeometryError(
            f"{labels.path or 'lesions'}: shape {labels.grid.shape_zyx}, spacing {labels.grid.spacing_xyz} mm do not "
            f"lie on the grid of {scan.path or 'the scan'} ({scan.grid.shape_zyx}, {scan.grid.spacing_xyz} mm); give "
            "the mask of this scan"
        )
    slices = Slices(labels.grid, labels.source if scan is None else scan.source)
    found, _ = lesion_instances(labels.array, least_voxels, instances)
    return [_measured(lesion, labels.grid, slices, scan) for lesion in found]


def _measured(lesion: LesionInstance, grid: Grid, slices: Slices, scan: Image | None) -> LesionMeasurement:
    axial = axial_axis(grid)
    order = (axial, *(axis for axis in range(3) if axis != axial))
    z, y, x = (grid.spacing_xyz[2 - axis] for axis in order)
    upright = np.ascontiguousarray(lesion.mask.transpose(order))
    diameters = recist_diameters(upright, (x, y, z))
    box_axes = hcuch_axes(upright, (x, y, z))
    start = [lesion.place[axis].start for axis in order]

    def line(ends: Ends) -> Line:
        zyx = np.empty((2, 3))
        zyx[:, order] = np.asarray(ends) + start
        a, b = grid.ijk_to_lps(zyx[:, ::-1]).tolist()
        return (a[0], a[1], a[2]), (b[0], b[1], b[2])

    at = start[0] + diameters.slice_index
    own = tuple(slice(at, at + 1) if axis == axial else place for axis, place in enumerate(lesion.place))
    number, _, numbers = slices.of(own)
    first, last, _ = slices.of(lesion.place)
    center = mask_center(lesion.mask, lesion.place, grid).tolist()
    along = lesion.place[axial]
    return LesionMeasurement(
        id=lesion.id,
        value=lesion.value,
        voxels=lesion.voxels,
        volume_ml=lesion.voxels * grid.voxel_ml,
        center=(center[0], center[1], center[2]),
        box=_box(lesion.place, grid),
        slice=number,
        first_slice=first,
        last_slice=last,
        slice_numbers=numbers,
        slice_mm=z,
        longest_mm=diameters.longest_mm,
        perpendicular_mm=diameters.perpendicular_mm,
        longest_line=line(diameters.longest_zyx),
        perpendicular_line=line(diameters.perpendicular_zyx),
        hcuch_major_mm=box_axes.major_mm,
        hcuch_minor_mm=box_axes.minor_mm,
        cut_off=along.start == 0 or along.stop == grid.shape_zyx[axial],
        parts=_parts(lesion),
        mean_hu=None if scan is None else float(scan.array[lesion.place][lesion.mask].mean(dtype=np.float64)),
    )


def _parts(lesion: LesionInstance) -> int:
    sizes = [int(np.count_nonzero(part)) for _, part in _connected(lesion.mask, lesion.place)]
    return max(sum(size >= LEAST_VOXELS for size in sizes), 1)


def _box(place: Sequence[slice], grid: Grid) -> Box:
    """The LPS box around the voxels' outer faces."""
    ends = [(axis.start - 0.5, axis.stop - 0.5) for axis in place]
    corners = grid.ijk_to_lps([[i, j, k] for k in ends[0] for j in ends[1] for i in ends[2]])
    low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
