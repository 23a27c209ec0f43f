"""Slices with their places: do they make one regular grid, and which."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.dicom.gantry_tilt import straighten
from medlsam.io.dicom.header import DicomHeader
from medlsam.io.dicom.pixels import read_plane
from medlsam.io.dicom.stacks import twice, worst_gap
from medlsam.io.values import OpenedFile, collect
from medlsam.volume.volume import Source

_log = logging.getLogger(__name__)
#: Degrees; gantries tilt by 30 at most.
_MOST_TILT = 40.0


@dataclass(frozen=True)
class SlicePlaces:
    """Where slices lie.

    Attributes:
        positions: (N, 3) LPS mm: the centre of each slice's first pixel, in the order of the slices.
        orientation: of the rows and columns, as ImageOrientationPatient.
        spacing_yx: mm between rows, and between columns.
        shape_yx: rows and columns.
    """

    positions: NDArray[np.float64]
    orientation: Sequence[float]
    spacing_yx: Sequence[float]
    shape_yx: tuple[int, int]


def open_slices(headers: Sequence[DicomHeader], path: Path) -> OpenedFile:
    """Open the slices of one CT series.

    Args:
        headers: of the files, in the order of their places.
        path: where they lie, for messages.

    Raises:
        VolumeError: a slice does not say where it lies or how large its pixels are, or they make no regular volume.
    """
    places = SlicePlaces(
        positions=np.asarray([_numbers(h, "position", 3, "Image Position (Patient)") for h in headers]),
        orientation=_numbers(headers[0], "orientation", 6, "Image Orientation (Patient)"),
        spacing_yx=_pixel_spacing(headers, path),
        shape_yx=(int(headers[0].rows), int(headers[0].columns)),
    )
    first = headers[0]
    source = Source(path, first.modality or "CT", first.study, first.series, tuple(h.path for h in headers))
    return regular(places, (read_plane(header) for header in headers), source, path)


def regular(places: SlicePlaces, planes: Iterator[NDArray[Any]], source: Source, path: Path) -> OpenedFile:
    """Slices as one volume; a tilted gantry is straightened, which needs them all at once.

    Args:
        places: where they lie.
        planes: (rows, columns) HU, in the same order, to be taken once.
        source: where they come from.
        path: for messages.

    Raises:
        VolumeError: they are not evenly spaced, or shifted against each other by more than a tilt.
    """
    grid, step = _grid(places, path)
    if step is None:
        from dataclasses import replace

        return OpenedFile(grid, planes, replace(source, grid_is_scanners=True))
    straight, upright = straighten(collect(planes, grid.shape_zyx, path), grid, step)
    return OpenedFile(upright, iter(straight), source)


def _grid(places: SlicePlaces, path: Path) -> tuple[Grid, NDArray[np.float64] | None]:
    """The grid as if the slices lay above each other; and the step between them (LPS mm) where a gantry was tilted."""
    row, column = np.asarray(places.orientation[:3]), np.asarray(places.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise VolumeError(
            f"{path}: Image Orientation (Patient) is {list(places.orientation)}, not two directions at right angles; "
            "the series is damaged or was edited by hand"
        )
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    normal = np.cross(row, column)
    positions, count = places.positions, len(places.positions)
    along = positions @ normal
    _check_along(along, path)
    mean = (positions[-1] - positions[0]) / (count - 1) if count > 1 else normal
    step = float(mean @ normal)
    normal = normal * np.sign(step)
    sy, sx = places.spacing_yx
    x, y, z = (float(v) for v in positions[0])
    grid = Grid(
        (count, *places.shape_yx),
        (sx, sy, abs(step)),
        (x, y, z),
        tuple(float(v) for v in np.column_stack([row, column, normal]).ravel()),
    )
    sideways = float(np.linalg.norm(mean - (mean @ normal) * normal))
    if count < 2 or sideways * count <= 2.0:
        return grid, None
    angle = float(np.degrees(np.arctan2(sideways, abs(step))))
    steps = np.diff(positions, axis=0)
    if angle > _MOST_TILT or np.abs(steps - mean).max() > max(0.1 * abs(step), 0.05):
        raise VolumeError(
            f"{path}: the slices are shifted against each other by {sideways:.2f} mm on average and at "
            f"{angle:.1f} degrees, which is no gantry tilt; resample the series to a regular grid first"
        )
    _log.warning("%s: gantry tilt of %.1f degrees taken out; results lie on the upright grid", path, angle)
    return grid, mean


def _check_along(along: NDArray[np.float64], path: Path) -> None:
    if len(along) < 2:
        return
    if count := twice(along):
        raise VolumeError(
            f"{path}: {count} slices lie at the place of another (several phases or "
            "reconstructions in one series?); give one of them in its own folder"
        )
    if (found := worst_gap(along)) is not None:
        worst, gap, usual = found
        raise VolumeError(
            f"{path}: the slices are not evenly spaced: usually {usual:g} mm, {gap:g} mm after "
            f"slice {worst + 1} of {len(along)}; add the missing slice, or resample the series first"
        )


def _numbers(header: DicomHeader, name: str, count: int, tag: str) -> list[float]:
    values = header.numbers(name, count)
    if values is None:
        raise VolumeError(
            f"{header.path}: the slice has no {tag} ({header.fields.get(name, 'absent') or 'empty'}); "
            "its place is unknown; export the series again"
        )
    return values


def _pixel_spacing(headers: Sequence[DicomHeader], path: Path) -> list[float]:
    """Rows and columns, mm.

    Raises:
        VolumeError: a slice has none, or they differ.
    """
    found: dict[tuple[float, float], list[str]] = {}
    for header in headers:
        values = header.numbers("pixel_spacing", 2)
        if values is None or min(values) <= 0:
            seen = header.fields.get("pixel_spacing", "absent") or "empty"
            imager = header.imager_pixel_spacing
            more = (
                f"; Imager Pixel Spacing ({imager}) is that of the detector, not of the patient"
                if imager
                else ""
            )
            raise VolumeError(
                f"{header.path}: the slice has no Pixel Spacing (0028,0030): {seen}{more}; "
                "export the series again, or write the spacing there"
            )
        found.setdefault((round(values[0], 4), round(values[1], 4)), []).append(header.path.name)
    if len(found) > 1:
        parts = [
            f"{y:g} x {x:g} mm in {len(names)} slices from {names[0]}" for (y, x), names in found.items()
        ]
        shown = ", ".join(parts[:4]) + (", ..." if len(parts) > 4 else "")
        raise VolumeError(
            f"{path}: Pixel Spacing changes within the series: {shown}; give each part in its own folder"
        )
    exact = headers[0].numbers("pixel_spacing", 2)
    assert exact is not None
    return exact
