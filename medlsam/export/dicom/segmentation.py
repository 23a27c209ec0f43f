"""A DICOM segmentation (SEG): one segment a structure, with coded anatomy, that refers to the source series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medlsam._version import __version__
from medlsam.export.anatomy import anatomy_of, colour_of
from medlsam.export.dicom.identity import MANUFACTURER, MODEL, made_uid, unique_names
from medlsam.export.dicom.planes import label_planes, present_values
from medlsam.export.dicom.series import SourceSeries
from medlsam.results import Segmentation
from medlsam.runtime.atomic_files import atomic_path

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

SERIES_NUMBER = 301
#: Numbers that nobody gave are empty; some readers want one.
_SERIAL = "0"


def write_segmentation_object(segmentation: Segmentation, path: Path, series: SourceSeries) -> bool:
    """Write a BINARY segmentation in the slices of the source series.

    Args:
        segmentation: the structures that have voxels in the series' slices become segments, numbered from 1 in the
            order of their values.
        path: the ``.dcm`` file.
        series: that the scan was read from.

    Returns:
        Whether there was anything to write: a segmentation without segments cannot be.

    Raises:
        GeometryError: the label map does not lie in the series.
    """
    from highdicom.seg import Segmentation as SegmentationObject
    from highdicom.seg import SegmentationTypeValues

    planes = label_planes(segmentation.labels, series)
    values = sorted(present_values(planes).intersection(segmentation.names))
    if not values:
        return False
    names = [segmentation.names[value] for value in values]
    numbers = np.zeros(max(int(planes.max()), *values) + 1, np.uint16 if len(values) > 255 else np.uint8)
    numbers[values] = np.arange(1, len(values) + 1)
    pixels = _in_file_order(numbers[planes], series)
    uid = made_uid("SEG", __version__, series.uid, *names, pixels)
    written = SegmentationObject(
        source_images=series.headers,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, label, name)
            for number, (label, name) in enumerate(zip(unique_names(names), names, strict=True), start=1)
        ],
        series_instance_uid=made_uid("series", uid),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=__version__,
        device_serial_number=_SERIAL,
        content_label="MEDLSAM",
        content_description="Structures found by medlsam",
        series_description="medlsam segmentation",
        # Names may be in any language, whatever the series' own text is in.
        specific_character_set="ISO_IR 192",
    )
    with atomic_path(path) as temporary:
        written.save_as(temporary)
    return True


def _description(number: int, label: str, name: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    anatomy = anatomy_of(name)
    described = SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=CodedConcept(*anatomy.category),
        segmented_property_type=CodedConcept(*anatomy.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=MODEL, family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        anatomic_regions=None if anatomy.region is None else [CodedConcept(*anatomy.region)],
        display_color=CIELabColor.from_rgb(*colour_of(name)),
    )
    if anatomy.side is not None:
        modifier = [CodedConcept(*anatomy.side)]
        # The side belongs to the organ: to the type itself, or to the region where the type is what lies in it.
        if anatomy.region is None:
            described.SegmentedPropertyTypeCodeSequence[
                0
            ].SegmentedPropertyTypeModifierCodeSequence = modifier
        else:
            described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = modifier
    return described


def _in_file_order(planes: NDArray[Any], series: SourceSeries) -> NDArray[Any]:
    """The planes in the order of the series' headers, or of the frames of its one file."""
    frames = [plane.frame for plane in series.planes if plane.frame is not None]
    if not frames:
        return planes
    count = len(series.first.PerFrameFunctionalGroupsSequence)
    ordered = np.zeros((count, *planes.shape[1:]), planes.dtype)
    ordered[frames] = planes
    return ordered
