"""dciodvfy has nothing against the outputs, however the series is stored and however little it says."""

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medlsam.export.formats import open_series, write_outputs
from medlsam.geometry import Grid
from medlsam.output_options import OutputOptions
from tests.support.data.found_structures import (
    LYING,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    read_multiframe,
    segmentation_of,
)
from tests.support.dicom_objects import conformance_errors, needs_dciodvfy

DICOM = OutputOptions(format="dicom-seg,rtstruct")
GRID = Grid(SHAPE, SPACING, ORIGIN)


def plain(folder):
    return read_ct(folder, GRID)


def oblique(folder):
    return read_ct(folder, Grid(SHAPE, SPACING, ORIGIN, LYING["oblique"]))


def tilted(folder):
    return read_ct(folder, GRID, shift_mm=(0.0, 0.63, 0.0))


def without_patient(folder):
    image = read_ct(folder, GRID)
    for file in image.source.files:
        header = dcmread(file)
        for name in ("PatientName", "PatientID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
            delattr(header, name)
        header.PatientAge, header.PatientWeight = "", ""
        header.save_as(file)
    return image


def full_of_nonsense(folder):
    """Dates that are none, numbers that are words: what was typed in by hand, or left by an anonymizer."""
    image = read_ct(folder, GRID)
    wrong = {
        "PatientBirthDate": b"1960",
        "StudyDate": b"20239999",
        "StudyTime": b"noon",
        "PatientAge": b"44",
        "PatientWeight": b"heavy ",
        "PatientSize": b"1,80",
        "PatientSex": b"female",
        "SliceThickness": b"thin",
    }
    for file in image.source.files:
        header = dcmread(file)
        for name, value in wrong.items():
            tag = tag_for_keyword(name)
            header[tag] = RawDataElement(Tag(tag), dictionary_VR(tag), len(value), value, 0, False, True)
        header.save_as(file)
    return image


def multiframe(folder):
    return read_multiframe(folder / "ct.dcm")


@needs_dciodvfy
@pytest.mark.parametrize("kind", [plain, oblique, tilted, without_patient, full_of_nonsense, multiframe])
def test_outputs_conform(tmp_path, kind):
    image = kind(tmp_path / "ct")
    found = segmentation_of(draw_labels(image.array.shape), image.grid, image.source)
    write_outputs(found, tmp_path, DICOM, open_series(image, DICOM, "a"))
    for name in ("segmentation.dcm", "rtstruct.dcm"):
        assert conformance_errors(tmp_path / name) == set()
