"""Readers of DICOM segmentations and structure sets that share nothing with what writes them."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from medlsam.geometry import Grid

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed"
)


def pixel_places(files: Sequence[Path], frames: Sequence[int] = ()) -> NDArray[np.float64]:
    """(slices, rows, columns, 3) LPS mm of the pixels of a series, from its headers."""
    headers = [dcmread(file, stop_before_pixels=True) for file in files]
    if frames:
        groups = [headers[0].PerFrameFunctionalGroupsSequence[frame] for frame in frames]
        shared = headers[0].SharedFunctionalGroupsSequence[0]
        return np.stack(
            [_frame_places(group, shared, headers[0].Rows, headers[0].Columns) for group in groups]
        )
    return np.stack([_places(h, h, h, h.Rows, h.Columns) for h in headers])


def uid_of(file: Path) -> str:
    """SOP Instance UID of a file; where its data set lacks it, as its head says."""
    header = dcmread(file, stop_before_pixels=True)
    return str(header.SOPInstanceUID or header.file_meta.MediaStorageSOPInstanceUID)


def conformance_errors(path: Path) -> set[str]:
    """What dciodvfy (Debian: dicom3tools) calls an error in a DICOM file."""
    run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return {line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")}


def segments_on(path: Path, grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """The segments of a SEG as masks on a grid whose voxels they lie in, to 0.01 of a voxel."""
    found = dcmread(path)
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in found.SegmentSequence}
    masks = {label: np.zeros(grid.shape_zyx, np.bool_) for label in labels.values()}
    pixels = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    for frame, group in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        shared = found.SharedFunctionalGroupsSequence[0]
        # What all frames have in common, as the one segment, is said once.
        said = group if "SegmentIdentificationSequence" in group else shared
        label = labels[int(said.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]
        places = _frame_places(group, shared, found.Rows, found.Columns)
        ijk = grid.lps_to_ijk(places[frame > 0])
        assert np.abs(ijk - np.rint(ijk)).max() < 0.01
        masks[label][tuple(np.rint(ijk).astype(int)[:, ::-1].T)] = True
    return masks


def structures_in(
    path: Path, files: Sequence[Path], frames: Sequence[int] = ()
) -> dict[str, NDArray[np.bool_]]:
    """The structures of an RTSTRUCT as masks (slices, rows, columns): pixels whose centres lie inside a polygon.

    Several polygons of a slice are joined by exclusive or. Every corner lies in the plane of the slice that it names.
    """
    found = dcmread(path)
    places = pixel_places(files, frames)
    uids = [uid_of(file) for file in files]
    slices = {(uid, None): n for n, uid in enumerate(uids)}
    if frames:
        slices = {(uids[0], frame + 1): n for n, frame in enumerate(frames)}
    masks = {}
    names = {int(item.ROINumber): str(item.ROIName) for item in found.StructureSetROISequence}
    for item in found.ROIContourSequence:
        mask = masks[names[int(item.ReferencedROINumber)]] = np.zeros(places.shape[:3], np.bool_)
        for contour in item.ContourSequence:
            image = contour.ContourImageSequence[0]
            n = slices[str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber")]
            corners = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
            assert len(corners) == contour.NumberOfContourPoints
            flat, beside = _in_slice(corners, places[n])
            assert np.abs(beside).max() < 1e-3
            mask[n] ^= inside(flat, mask[n].shape)
    return masks


def corners_of(path: Path, files: Sequence[Path]) -> dict[str, dict[int, list[NDArray[np.float64]]]]:
    """Structure to slice to polygons, (N, 2) corners as (column, row) of the slice's pixels."""
    found, places = dcmread(path), pixel_places(files)
    uids = [uid_of(file) for file in files]
    names = {int(item.ROINumber): str(item.ROIName) for item in found.StructureSetROISequence}
    polygons: dict[str, dict[int, list[NDArray[np.float64]]]] = defaultdict(lambda: defaultdict(list))
    for item in found.ROIContourSequence:
        for contour in item.ContourSequence:
            n = uids.index(str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID))
            corners = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
            polygons[names[int(item.ReferencedROINumber)]][n].append(_in_slice(corners, places[n])[0])
    return polygons


def inside(polygon: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels (rows, columns) whose centres lie inside a polygon of (column, row) corners."""
    found = np.zeros(shape, np.bool_)
    low = np.maximum(np.floor(polygon.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(polygon.max(axis=0)) + 1, shape[::-1]).astype(int)
    part = np.s_[low[1] : high[1], low[0] : high[0]]
    centres = np.indices(found[part].shape).reshape(2, -1)[::-1].T + low
    found[part] = Polygon(polygon).contains_points(centres).reshape(found[part].shape)
    return found


def _in_slice(points: NDArray[np.float64], places: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(N, 2) column and row of points in a slice, and (N,) how far (mm) they lie beside its plane."""
    origin, across, down = places[0, 0], places[0, 1] - places[0, 0], places[1, 0] - places[0, 0]
    normal = np.cross(across, down) / np.linalg.norm(np.cross(across, down))
    found = (points - origin) @ np.linalg.inv(np.stack([across, down, normal]))
    return found[:, :2], found[:, 2]


def _frame_places(group: Dataset, shared: Dataset, rows: int, columns: int) -> NDArray[np.float64]:
    def first(name: str) -> Dataset:
        holder = group if name in group else shared
        item: Dataset = holder[name].value[0]
        return item

    return _places(
        first("PlanePositionSequence"),
        first("PlaneOrientationSequence"),
        first("PixelMeasuresSequence"),
        rows,
        columns,
    )


def _places(
    position: Dataset, orientation: Dataset, measures: Dataset, rows: int, columns: int
) -> NDArray[np.float64]:
    origin = np.asarray(position.ImagePositionPatient, dtype=float)
    cosines = np.asarray(orientation.ImageOrientationPatient, dtype=float)
    down, across = (float(value) for value in measures.PixelSpacing)
    row, column = np.indices((rows, columns))
    return np.asarray(origin + row[..., None] * down * cosines[3:] + column[..., None] * across * cosines[:3])
