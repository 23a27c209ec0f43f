"""A tiny enhanced multi-frame CT, written with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from medlsam.volume import Image


def write_multiframe(image: Image, path: Path, order: Sequence[int]) -> None:
    """Write a scan as one file; frame f holds slice ``order[f]``."""
    written = Dataset()
    written.file_meta = FileMetaDataset()
    written.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    written.file_meta.MediaStorageSOPClassUID = written.SOPClassUID = EnhancedCTImageStorage
    written.file_meta.MediaStorageSOPInstanceUID = written.SOPInstanceUID = "1.2.3.4.5"
    written.Modality, written.StudyInstanceUID, written.SeriesInstanceUID = "CT", "1.2.3", "1.2.3.4"
    written.FrameOfReferenceUID, written.ImageType = "1.2.3.9", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    written.NumberOfFrames, (written.Rows, written.Columns) = len(order), image.array.shape[1:]
    written.SamplesPerPixel, written.PhotometricInterpretation = 1, "MONOCHROME2"
    written.BitsAllocated, written.BitsStored, written.HighBit, written.PixelRepresentation = 16, 16, 15, 1
    direction = np.asarray(image.grid.direction).reshape(3, 3)
    measures, orientation, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [image.grid.spacing_xyz[1], image.grid.spacing_xyz[0]]
    measures.SliceThickness = image.grid.spacing_xyz[2]
    orientation.ImageOrientationPatient = [f"{v:.9f}" for v in direction[:, :2].T.ravel()]
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = 0, 1, "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [values]
    written.SharedFunctionalGroupsSequence = [shared]
    written.PerFrameFunctionalGroupsSequence = [_frame(image, n) for n in order]
    written.PixelData = image.array[list(order)].astype(np.int16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    written.save_as(path, enforce_file_format=True)


def _frame(image: Image, n: int) -> Dataset:
    group, position = Dataset(), Dataset()
    position.ImagePositionPatient = [f"{v:.6f}" for v in image.grid.ijk_to_lps([0, 0, n])]
    group.PlanePositionSequence = [position]
    return group
