"""One file that holds a whole scan: enhanced CT, and the older kinds with many frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import VolumeError
from medlsam.io.dicom.header import DicomHeader
from medlsam.io.dicom.pixels import read_dataset, stored_values
from medlsam.io.dicom.slices import SlicePlaces, regular
from medlsam.io.values import OpenedFile
from medlsam.volume.volume import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)


def open_multiframe(header: DicomHeader, path: Path) -> OpenedFile:
    """Open a file of many frames; they are taken in the order of their places, whatever order they are stored in.

    Args:
        header: of the file.
        path: where the user says that it lies, for messages.

    Raises:
        VolumeError: the frames do not say where they lie or how large their pixels are, differ in that, or make no
            regular volume.
    """
    dataset = read_dataset(header.path)
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    spacing = _one(dataset, count, "PixelMeasuresSequence", "PixelSpacing", 2, header.path)
    orientation = _one(dataset, count, "PlaneOrientationSequence", "ImageOrientationPatient", 6, header.path)
    positions = _positions(dataset, count, orientation, header.path)
    normal = np.cross(orientation[:3], orientation[3:])
    order = np.argsort(positions @ normal, kind="stable")
    places = SlicePlaces(positions[order], orientation, spacing, (int(dataset.Rows), int(dataset.Columns)))
    source = Source(
        path,
        header.modality or "CT",
        header.study,
        header.series,
        (header.path,),
        frames=tuple(int(n) for n in order),
    )
    return regular(places, _planes(dataset, order, header.path), source, path)


def _planes(dataset: Dataset, order: NDArray[np.intp], path: Path) -> Iterator[NDArray[Any]]:
    stored = stored_values(dataset, path)
    stored = stored.reshape(-1, *stored.shape[-2:])
    for frame in order:
        slope, intercept = _rescale(dataset, int(frame))
        # Whole numbers stay whole: what is put together is int16 where it can be.
        yield stored[frame].astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _rescale(dataset: Dataset, frame: int) -> tuple[float, float]:
    group = _group(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, intercept = group.get("RescaleSlope", 1), group.get("RescaleIntercept", 0)
    return float(1 if slope in (None, "") else slope), float(intercept or 0)


def _group(dataset: Dataset, frame: int, name: str) -> Dataset | None:
    """A frame's functional group, its own or that of all frames."""
    for sequence in (
        dataset.get("PerFrameFunctionalGroupsSequence"),
        dataset.get("SharedFunctionalGroupsSequence"),
    ):
        if not sequence:
            continue
        item = sequence[min(frame, len(sequence) - 1)]
        if item.get(name):
            return item[name].value[0]  # type: ignore[no-any-return]
    return None


def _values(dataset: Dataset, frame: int, sequence: str, name: str, count: int) -> tuple[float, ...] | None:
    group = _group(dataset, frame, sequence)
    found = (group or dataset).get(name)
    try:
        values = tuple(float(v) for v in found)
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _one(
    dataset: Dataset, frames: int, sequence: str, name: str, count: int, path: Path
) -> tuple[float, ...]:
    """What has to be the same for all frames."""
    found = {_values(dataset, frame, sequence, name, count) for frame in range(frames)}
    if None in found:
        raise VolumeError(f"{path}: the frames have no {name}; export the scan again, or write it there")
    values = np.asarray(sorted(v for v in found if v is not None))
    if np.ptp(values, axis=0).max() > 1e-3:
        raise VolumeError(
            f"{path}: {name} changes between the frames: {values[0].tolist()} and {values[-1].tolist()}; "
            "give each part as a scan of its own"
        )
    return tuple(float(v) for v in values[0])


def _positions(
    dataset: Dataset, count: int, orientation: tuple[float, ...], path: Path
) -> NDArray[np.float64]:
    """(frames, 3) LPS mm."""
    own = [
        _values(dataset, frame, "PlanePositionSequence", "ImagePositionPatient", 3) for frame in range(count)
    ]
    places = [place for place in own if place is not None]
    if len(places) == count and (count == 1 or len(set(places)) > 1):
        return np.asarray(places, dtype=float)
    if dataset.get("PerFrameFunctionalGroupsSequence"):
        raise VolumeError(
            f"{path}: {count - len(set(places))} of {count} frames have no Plane Position of their own; their place "
            "is unknown; export the scan again"
        )
    offsets = _offsets(dataset, count, path)
    origin = np.asarray(places[0] if places else (0.0, 0.0, 0.0))
    words = "the frames are taken to follow each other from the first one's place"
    if not places:
        words = "the file does not say where it lies; its first frame is taken to lie at (0, 0, 0)"
    _log.warning("%s: %s", path, words)
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(origin + offsets[:, None] * normal)


def _offsets(dataset: Dataset, count: int, path: Path) -> NDArray[np.float64]:
    """(frames,) mm along the normal, where only the file as a whole has a place."""
    vector = dataset.get("GridFrameOffsetVector")
    if vector is not None and len(vector) == count:
        offsets = np.asarray([float(v) for v in vector], dtype=np.float64)
        return np.asarray(offsets - offsets[0])
    step = dataset.get("SpacingBetweenSlices")
    if step in (None, "") or not float(step):
        raise VolumeError(
            f"{path}: the frames have no places, and the file no Spacing Between Slices; how far they are apart is "
            "unknown; export the scan again"
        )
    return np.arange(count, dtype=np.float64) * np.float64(abs(float(step)))
