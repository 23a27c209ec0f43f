"""Headers of a series: where its slices lie, and what is refused or made up."""

import numpy as np
import pytest
from pydicom import dcmread

from medlsam.errors import VolumeError
from medlsam.export.dicom.series import read_series_headers
from medlsam.io.read import read_image
from tests.support.data.dicom_files import REPORT, write_object
from tests.support.data.dicom_series import write_enhanced
from tests.support.data.found_structures import FRAMES, LYING, SHAPE, read_multiframe, series_with_structures


def changed(file, **values):
    """Write a file anew with other values; None removes one."""
    header = dcmread(file)
    for name, value in values.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    header.save_as(file)


@pytest.fixture
def source(tmp_path):
    return series_with_structures(tmp_path / "ct").labels.source


@pytest.mark.parametrize("lying", LYING)
def test_planes_lie_where_the_grid_says(tmp_path, lying):
    labels = series_with_structures(tmp_path, LYING[lying]).labels
    series = read_series_headers(labels.source.files, tmp_path)
    rows, columns = SHAPE[1] - 1, SHAPE[2] - 1
    for n, plane in enumerate(series.planes):
        corners = [[0, 0, n], [columns, 0, n], [0, rows, n], [columns, rows, n]]
        np.testing.assert_allclose(plane.corners, labels.grid.ijk_to_lps(corners), atol=1e-4)
        assert plane.frame is None
    assert (series.uid, series.first.FrameOfReferenceUID) == ("1.2.3.1", "1.2.3.9")
    assert series.made_up == ()


def test_frames_of_one_file(tmp_path):
    image = read_multiframe(tmp_path / "ct.dcm", LYING["oblique"])
    series = read_series_headers(image.source.files, tmp_path, image.source.frames)
    assert [plane.frame for plane in series.planes] == np.argsort(FRAMES).tolist()
    for n, plane in enumerate(series.planes):
        np.testing.assert_allclose(plane.origin, image.grid.ijk_to_lps([0, 0, n]), atol=1e-4)
    with pytest.raises(VolumeError, match="no frame 10 in the file"):
        read_series_headers([tmp_path / "ct.dcm"], tmp_path, (9,))


def test_frames_that_do_not_say_where_they_lie_are_refused(tmp_path, small_ct):
    def older(dataset):
        # As secondary captures hold a scan: one place for the file, and how far the frames are apart.
        del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [1, 1]

    write_enhanced(small_ct, tmp_path / "ct.dcm", change=older)
    with pytest.raises(VolumeError, match=r"ct\.dcm: its 24 frames do not say each where they lie"):
        read_series_headers([tmp_path / "ct.dcm"], tmp_path)


def test_what_the_data_set_forgot_and_the_files_head_knows(source):
    for n, file in enumerate(source.files):
        changed(file, SOPInstanceUID="", SOPClassUID="", SliceThickness="" if n == 0 else "9")
    series = read_series_headers(source.files, source.path)
    assert series.planes[2].instance == dcmread(source.files[2]).file_meta.MediaStorageSOPInstanceUID
    assert series.first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    # How far apart the slices lie.
    assert series.first.SliceThickness == 2.5


def test_absent_uids_are_made_up_and_told(source, caplog):
    for file in source.files:
        changed(file, StudyInstanceUID="", SeriesInstanceUID=None)
    series = read_series_headers(source.files, source.path)
    assert series.made_up == ("Study Instance UID", "Series Instance UID")
    series.warn()
    assert (
        "has no Study Instance UID and no Series Instance UID; the DICOM outputs carry made-up ones"
        in caplog.text
    )
    again = read_series_headers(source.files, source.path)
    assert (again.uid, again.first.StudyInstanceUID) == (series.uid, series.first.StudyInstanceUID)
    assert series.uid != series.first.StudyInstanceUID
    assert {header.SeriesInstanceUID for header in series.headers} == {series.uid}


def test_a_patient_without_data_gets_empty_fields(source):
    for file in source.files:
        changed(file, PatientName=None, PatientID=None, PatientSex="unknown", AccessionNumber=None)
    first = read_series_headers(source.files, source.path).first
    assert (first.PatientName, first.PatientID, first.PatientSex, first.AccessionNumber) == ("", "", "", "")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"FrameOfReferenceUID": None}, "no Frame of Reference UID"),
        ({"ImagePositionPatient": None}, r"_0_\d+\.dcm: position, orientation or pixel spacing is absent"),
        ({"PixelSpacing": ""}, "pixel spacing is absent"),
        ({"SOPInstanceUID": "1.2.3.4"}, "several slices carry one SOP Instance UID"),
    ],
)
def test_what_cannot_be_referred_to_is_refused(source, values, told):
    for file in source.files:
        changed(file, **values)
    with pytest.raises(VolumeError, match=told):
        read_series_headers(source.files, source.path)


def test_files_that_are_no_images_are_refused(tmp_path, source):
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(VolumeError, match=r"text\.dcm: the DICOM header cannot be read"):
        read_series_headers([tmp_path / "text.dcm"], tmp_path)
    write_object(tmp_path / "report.dcm", REPORT, "SR")
    with pytest.raises(VolumeError, match=r"report\.dcm: position, orientation"):
        read_series_headers([tmp_path / "report.dcm"], tmp_path)
    with pytest.raises(VolumeError, match=r"gone\.dcm: the DICOM header cannot be read"):
        read_series_headers([tmp_path / "gone.dcm"], tmp_path)
    with pytest.raises(VolumeError, match="the DICOM files of this scan are not known"):
        read_series_headers([], tmp_path)


def test_no_pixels_are_kept(source):
    series = read_series_headers(source.files, source.path)
    assert all("PixelData" not in header for header in series.headers)
    assert read_image(source.path).array.shape == (len(series.planes), *series.planes[0].shape)
