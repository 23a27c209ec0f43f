"""A DICOM structure set (RTSTRUCT): outlines of each structure in the slices of the source series."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage

from medlsam._version import __version__
from medlsam.export.anatomy import anatomy_of, colour_of
from medlsam.export.dicom.contours import outlines
from medlsam.export.dicom.identity import MANUFACTURER, MODEL, made_uid, unique_names
from medlsam.export.dicom.planes import label_planes
from medlsam.export.dicom.series import OPTIONAL, REQUIRED, SlicePlane, SourceSeries
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import atomic_path

# Retired, and still what the standard's own text shows for the study that a structure set refers to.
_STUDY = "1.2.840.10008.3.1.2.3.1"
SERIES_NUMBER = 302


def write_structure_set(segmentation: Segmentation, path: Path, series: SourceSeries) -> bool:
    """Write the outlines of every structure, slice by slice, in the slices of the source series.

    Args:
        segmentation: the structures that have voxels in the series' slices become ROIs, numbered from 1 in the order
            of their values.
        path: the ``.dcm`` file.
        series: that the scan was read from.

    Returns:
        Whether there was anything to write: a structure set without structures cannot be.

    Raises:
        GeometryError: the label map does not lie in the series.
    """
    planes = label_planes(segmentation.labels, series)
    contours = {value: list[Dataset]() for value in sorted(segmentation.names)}
    for plane, labels in zip(series.planes, planes, strict=True):
        for value in np.unique(labels):
            if value in contours:
                contours[value] += [_contour(outline, plane, series) for outline in outlines(labels == value)]
    drawn = {value: found for value, found in contours.items() if found}
    if not drawn:
        return False
    names = [segmentation.names[value] for value in drawn]
    written = _head(series)
    written.ReferencedFrameOfReferenceSequence = [_referenced(series)]
    numbered = list(enumerate(zip(unique_names(names), names, drawn.values(), strict=True), start=1))
    written.StructureSetROISequence = [_roi(number, label, series) for number, (label, _, _) in numbered]
    written.ROIContourSequence = [
        _dataset(ROIDisplayColor=list(colour_of(name)), ContourSequence=found, ReferencedROINumber=number)
        for number, (_, name, found) in numbered
    ]
    written.RTROIObservationsSequence = [_observation(number, name) for number, (_, name, _) in numbered]
    uid = made_uid("RTSTRUCT", __version__, series.uid, *names, planes)
    written.SOPInstanceUID, written.SeriesInstanceUID = uid, made_uid("series", uid)
    written.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    with atomic_path(path) as temporary:
        written.save_as(temporary, enforce_file_format=True)
    return True


def _head(series: SourceSeries) -> Dataset:
    """Patient, study, equipment and what the structure set says of itself."""
    first, now = series.first, datetime.now()
    head = Dataset()
    head.file_meta = FileMetaDataset()
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    for name in (*REQUIRED, *OPTIONAL):
        if name in first:
            head[name] = first[name]
    # Names may be in any language, whatever the series' own text is in.
    head.SpecificCharacterSet = "ISO_IR 192"
    head.SOPClassUID = RTStructureSetStorage
    head.InstanceCreationDate = head.StructureSetDate = now.strftime("%Y%m%d")
    head.InstanceCreationTime = head.StructureSetTime = now.strftime("%H%M%S")
    head.Modality = "RTSTRUCT"
    head.Manufacturer, head.ManufacturerModelName = MANUFACTURER, MODEL
    head.SoftwareVersions = __version__
    head.OperatorsName = ""
    head.StudyInstanceUID, head.SeriesNumber, head.InstanceNumber = first.StudyInstanceUID, SERIES_NUMBER, 1
    head.SeriesDescription = "medlsam structures"
    head.FrameOfReferenceUID = first.FrameOfReferenceUID
    head.PositionReferenceIndicator = first.get("PositionReferenceIndicator") or ""
    head.StructureSetLabel, head.StructureSetName = "MEDLSAM", "Structures found by medlsam"
    head.ApprovalStatus = "UNAPPROVED"
    return head


def _referenced(series: SourceSeries) -> Dataset:
    """The frame of reference, the study, the series and every file of it."""
    images = [
        _dataset(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
        for header in series.headers
    ]
    inner = _dataset(SeriesInstanceUID=series.uid, ContourImageSequence=images)
    study = _dataset(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=series.first.StudyInstanceUID,
        RTReferencedSeriesSequence=[inner],
    )
    return _dataset(FrameOfReferenceUID=series.first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _roi(number: int, label: str, series: SourceSeries) -> Dataset:
    return _dataset(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=series.first.FrameOfReferenceUID,
        ROIName=label,
        ROIGenerationAlgorithm="AUTOMATIC",
        ROIGenerationDescription=f"{MODEL} {__version__}",
    )


def _observation(number: int, name: str) -> Dataset:
    anatomy = anatomy_of(name)
    code = _code(anatomy.type)
    if anatomy.side is not None and anatomy.region is None:
        # The modifier of RT ROI Identification Code is called as that of a segment's type.
        code.SegmentedPropertyTypeModifierCodeSequence = [_code(anatomy.side)]
    return _dataset(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="ORGAN" if anatomy.is_organ else "",
        ROIInterpreter="",
    )


def _contour(outline: np.ndarray[Any, Any], plane: SlicePlane, series: SourceSeries) -> Dataset:
    """One closed polygon at its place in the patient, with the slice that it lies in."""
    points = plane.origin + outline[:, :1] * plane.across + outline[:, 1:] * plane.down
    image = _dataset(
        ReferencedSOPClassUID=series.first.SOPClassUID,
        ReferencedSOPInstanceUID=plane.instance,
    )
    if plane.frame is not None:
        image.ReferencedFrameNumber = plane.frame + 1
    return _dataset(
        ContourImageSequence=[image],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points),
        ContourData=[f"{value:.4f}" for value in points.ravel()],
    )


def _code(code: tuple[str, str, str]) -> Dataset:
    value, scheme, meaning = code
    return _dataset(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _dataset(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made
