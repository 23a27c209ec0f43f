"""RTSTRUCT: read back by other readers it is the same mask, slice by slice, in the series that it refers to."""

from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread

from medlsam.export.anatomy import colour_of
from medlsam.export.dicom.planes import label_planes
from medlsam.export.dicom.series import read_series_headers
from medlsam.export.dicom.structure_set import write_structure_set
from medlsam.geometry import Grid
from medlsam.volume import LabelMap
from tests.support.data.found_structures import (
    LYING,
    NAMES,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    read_multiframe,
    segmentation_of,
    series_with_structures,
)
from tests.support.dicom_objects import structures_in


def written(found, path):
    source = found.labels.source
    assert write_structure_set(found, path, read_series_headers(source.files, source.path, source.frames))
    return path


@pytest.mark.parametrize("lying", LYING)
def test_the_mask_is_the_same_voxel_for_voxel(tmp_path, lying):
    found = series_with_structures(tmp_path / "ct", LYING[lying])
    masks = structures_in(written(found, tmp_path / "rt.dcm"), found.labels.source.files)
    assert set(masks) == {"liver", "LeftParotid", "Łódź 7"}
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], found.labels.array == value)


def test_a_straightened_gantry_is_written_on_the_scanners_grid(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN), shift_mm=(0.0, -0.63, 0.2))
    found = segmentation_of(draw_labels(image.array.shape), image.grid, image.source)
    planes = label_planes(found.labels, read_series_headers(image.source.files, image.source.path))
    masks = structures_in(written(found, tmp_path / "rt.dcm"), image.source.files)
    assert {"liver", "Łódź 7"} <= set(masks)
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], planes == value)


def test_frames_of_a_multiframe_scan(tmp_path):
    image = read_multiframe(tmp_path / "ct.dcm", LYING["prone"])
    found = segmentation_of(draw_labels(SHAPE), image.grid, image.source)
    masks = structures_in(written(found, tmp_path / "rt.dcm"), image.source.files, image.source.frames)
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], found.labels.array == value)


def test_rt_utils_reads_the_same_mask(tmp_path):
    builder = pytest.importorskip("rt_utils", exc_type=ImportError, reason="OpenCV cannot be loaded here")
    # It swaps rows and columns where they differ, so a square.
    image = read_ct(tmp_path / "ct", Grid((9, 31, 31), (1.3, 1.3, 2.5), ORIGIN, LYING["oblique"]))
    labels = draw_labels(image.array.shape)
    found = segmentation_of(labels, image.grid, image.source)
    path = written(found, tmp_path / "rt.dcm")
    again = builder.RTStructBuilder.create_from(
        dicom_series_path=str(tmp_path / "ct"), rt_struct_path=str(path)
    )
    assert again.get_roi_names() == ["liver", "LeftParotid", "Łódź 7"]
    for value, name in NAMES.items():
        if (labels == value).any():
            np.testing.assert_array_equal(
                again.get_roi_mask_by_name(name).transpose(2, 0, 1), labels == value
            )


def test_what_it_says_of_the_structures(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    again = dcmread(written(found, tmp_path / "rt.dcm"))
    numbers = [item.ROINumber for item in again.StructureSetROISequence]
    assert numbers == [1, 2, 3]
    assert [item.ReferencedROINumber for item in again.ROIContourSequence] == numbers
    assert [item.ReferencedROINumber for item in again.RTROIObservationsSequence] == numbers
    assert list(again.ROIContourSequence[0].ROIDisplayColor) == list(colour_of("liver"))
    codes = [item.RTROIIdentificationCodeSequence[0] for item in again.RTROIObservationsSequence]
    assert [code.CodingSchemeDesignator for code in codes] == ["SCT", "SCT", "99MEDLSAM"]
    assert [item.RTROIInterpretedType for item in again.RTROIObservationsSequence] == ["ORGAN", "ORGAN", ""]
    assert {item.ROIGenerationAlgorithm for item in again.StructureSetROISequence} == {"AUTOMATIC"}


def test_it_belongs_to_the_series(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    files = found.labels.source.files
    source = dcmread(files[0])
    again = dcmread(written(found, tmp_path / "rt.dcm"))
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert again[name].value == source[name].value, name
    frame = again.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == again.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert {item.ReferencedFrameOfReferenceUID for item in again.StructureSetROISequence} == {
        frame.FrameOfReferenceUID
    }
    study = frame.RTReferencedStudySequence[0]
    assert study.ReferencedSOPInstanceUID == source.StudyInstanceUID
    series = study.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == source.SeriesInstanceUID != again.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == {
        dcmread(file).SOPInstanceUID for file in files
    }


def test_names_are_unlike_even_where_long_ones_begin_alike(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    names = {1: "a" * 70, 2: "a" * 71, 7: "a" * 72}
    again = dcmread(written(replace(found, names=names), tmp_path / "rt.dcm"))
    labels = [str(item.ROIName) for item in again.StructureSetROISequence]
    assert len(set(labels)) == 3
    assert max(map(len, labels)) <= 64


def test_the_same_result_is_the_same_object(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    first, again = (dcmread(written(found, tmp_path / f"{n}.dcm")) for n in range(2))
    assert first.SOPInstanceUID == again.SOPInstanceUID
    moved = LabelMap(np.roll(found.labels.array, 1, axis=1), found.labels.grid, found.labels.source)
    assert (
        dcmread(written(replace(found, labels=moved), tmp_path / "o.dcm")).SOPInstanceUID
        != first.SOPInstanceUID
    )


def test_nothing_found_is_nothing_written(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    source = found.labels.source
    empty = replace(found, labels=LabelMap(np.zeros(SHAPE, np.uint8), found.labels.grid, source))
    series = read_series_headers(source.files, source.path)
    assert not write_structure_set(empty, tmp_path / "rt.dcm", series)
    assert not (tmp_path / "rt.dcm").exists()
