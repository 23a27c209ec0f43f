"""DICOM series by pydicom, every tag to be changed: what archives hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medlsam.volume import Image

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"
Change = Callable[[int, Dataset], "bool | None"]


def slice_dataset(volume: Image, n: int, uids: dict[str, str]) -> Dataset:
    """One slice of a scan, unsigned with an intercept of -1024."""
    direction = np.asarray(volume.grid.direction).reshape(3, 3)
    sx, sy, sz = volume.grid.spacing_xyz
    plane = volume.array[n]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CT
    data.SOPInstanceUID = generate_uid(entropy_srcs=[uids["series"], str(n)])
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.ImageType, data.Modality = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT"
    data.StudyDate, data.StudyTime = "20200101", "101500"
    data.PatientID, data.PatientName, data.PatientPosition = uids.get("patient", "P1"), "Test^Phantom", "HFS"
    data.StudyInstanceUID, data.SeriesInstanceUID = uids["study"], uids["series"]
    data.FrameOfReferenceUID, data.SeriesNumber, data.InstanceNumber = uids["frame"], 2, n + 1
    data.ImagePositionPatient = [f"{v:.6f}" for v in volume.grid.ijk_to_lps([0, 0, n])]
    data.ImageOrientationPatient = [f"{v:.9f}" for v in direction[:, :2].T.ravel()]
    data.PixelSpacing, data.SliceThickness = [f"{sy:g}", f"{sx:g}"], f"{sz:g}"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = plane.shape
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "-1024", "1", "HU"
    set_pixels(data, plane.astype(np.int32) + 1024)
    return data


def set_pixels(data: Dataset, stored: np.ndarray[Any, Any]) -> None:
    """Store whole numbers as the dataset's representation says."""
    kind = "<i2" if data.PixelRepresentation else "<u2"
    data.PixelData = stored.astype(kind).tobytes()


def pixels(data: Dataset) -> np.ndarray[Any, Any]:
    """The stored numbers of an uncompressed dataset, as int."""
    kind = "<i2" if data.PixelRepresentation else "<u2"
    return np.frombuffer(data.PixelData, kind).reshape(data.Rows, data.Columns).astype(int)


def new_uids(**known: str) -> dict[str, str]:
    """Numbers of a new study, series and frame of reference."""
    return {"study": generate_uid(), "series": generate_uid(), "frame": generate_uid()} | known


def save(data: Dataset, path: Path) -> None:
    """Write a dataset, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def write_slices(
    volume: Image,
    folder: Path,
    change: Change | None = None,
    uids: dict[str, str] | None = None,
    name: str = "IM{:04d}.dcm",
) -> list[Path]:
    """Write a series. ``change(n, dataset)`` may change a slice; where it returns False there is none."""
    uids = uids or new_uids()
    files = []
    for n in range(len(volume.array)):
        data = slice_dataset(volume, n, uids)
        if change is not None and change(n, data) is False:
            continue
        files.append(folder / name.format(n))
        save(data, files[-1])
    return files


def write_enhanced(
    volume: Image,
    path: Path,
    order: Sequence[int] | None = None,
    intercept: Callable[[int], int] | None = None,
    positions: bool = True,
    change: Callable[[Dataset], None] | None = None,
) -> None:
    """Write a scan as one enhanced CT file.

    Args:
        volume: the scan.
        path: the file.
        order: slices of the frames, in the order in which they are stored.
        intercept: of slice n, stored for each frame; one of -1024 for all where None.
        positions: whether each frame says where it lies.
        change: may change the dataset.
    """
    order = range(len(volume.array)) if order is None else order
    data = slice_dataset(volume, 0, new_uids())
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = ENHANCED
    shared, frames, stored = Dataset(), [], []
    shared.PlaneOrientationSequence = DicomSequence([_only(data, "ImageOrientationPatient")])
    shared.PixelMeasuresSequence = DicomSequence([_only(data, "PixelSpacing", "SliceThickness")])
    if intercept is None:
        shared.PixelValueTransformationSequence = DicomSequence([_rescale(-1024)])
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(data, tag)
    for tag in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        delattr(data, tag)
    for n in order:
        frame, place = Dataset(), Dataset()
        if positions:
            place.ImagePositionPatient = [f"{v:.6f}" for v in volume.grid.ijk_to_lps([0, 0, n])]
            frame.PlanePositionSequence = DicomSequence([place])
        if intercept is not None:
            frame.PixelValueTransformationSequence = DicomSequence([_rescale(intercept(n))])
        frames.append(frame)
        stored.append(volume.array[n].astype(int) - (-1024 if intercept is None else intercept(n)))
    data.NumberOfFrames = len(stored)
    data.SharedFunctionalGroupsSequence = DicomSequence([shared])
    data.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    data.PixelData = np.stack(stored).astype("<u2").tobytes()
    if change is not None:
        change(data)
    save(data, path)


def write_other(path: Path, uids: dict[str, str], modality: str, sop_class: str) -> None:
    """Write an object without pixels, of the same study."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Modality, data.PatientID = modality, uids.get("patient", "P1")
    data.StudyInstanceUID, data.SeriesInstanceUID = uids["study"], generate_uid()
    save(data, path)


def _only(data: Dataset, *names: str) -> Dataset:
    item = Dataset()
    for name in names:
        setattr(item, name, getattr(data, name))
    return item


def _rescale(intercept: int) -> Dataset:
    item = Dataset()
    item.RescaleIntercept, item.RescaleSlope, item.RescaleType = str(intercept), "1", "HU"
    return item
