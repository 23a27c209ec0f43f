"""DICOM SEG: read back by other readers it is the same mask, and it says what the structures are."""

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from medlsam import __version__
from medlsam.export.anatomy import colour_of
from medlsam.export.dicom.segmentation import write_segmentation_object
from medlsam.export.dicom.series import read_series_headers
from medlsam.geometry import Grid
from medlsam.volume import LabelMap
from tests.support.data.found_structures import (
    FRAMES,
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
from tests.support.dicom_objects import pixel_places, segments_on


def written(found, path: Path) -> Path:
    source = found.labels.source
    assert write_segmentation_object(
        found, path, read_series_headers(source.files, source.path, source.frames)
    )
    return path


@pytest.mark.parametrize("lying", LYING)
def test_the_mask_is_the_same_voxel_for_voxel(tmp_path, lying):
    found = series_with_structures(tmp_path / "ct", LYING[lying])
    masks = segments_on(written(found, tmp_path / "seg.dcm"), found.labels.grid)
    assert set(masks) == {"liver", "LeftParotid", "Łódź 7"}
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], found.labels.array == value)


def test_highdicom_reads_it_by_the_slices_of_the_series(tmp_path):
    found = series_with_structures(tmp_path / "ct", LYING["sagittal"])
    uids = [dcmread(file).SOPInstanceUID for file in found.labels.source.files]
    again = highdicom.seg.segread(written(found, tmp_path / "seg.dcm"))
    pixels = again.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=False)
    numbers = {item.SegmentLabel: item.SegmentNumber for item in again.SegmentSequence}
    assert list(numbers.values()) == [1, 2, 3]
    for value, name in NAMES.items():
        if name in numbers:
            np.testing.assert_array_equal(pixels == numbers[name], found.labels.array == value)


def test_a_straightened_gantry_is_written_on_the_scanners_grid(tmp_path):
    image = read_ct(tmp_path / "ct", Grid(SHAPE, SPACING, ORIGIN), shift_mm=(0.0, 0.63, 0.0))
    found = segmentation_of(draw_labels(image.array.shape), image.grid, image.source)
    again = dcmread(written(found, tmp_path / "seg.dcm"))
    places = {tuple(np.round(place[0, 0], 3)) for place in pixel_places(image.source.files)}
    frames = again.PerFrameFunctionalGroupsSequence
    positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in frames]
    assert {tuple(np.round(np.asarray(position, dtype=float), 3)) for position in positions} <= places
    # Each pixel lies in a voxel of the structure: half a voxel in plane at most, the same slice.
    first = again.pixel_array[0] > 0
    at = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in frames].index(1)
    assert at == 0
    row, column = np.argwhere(first)[:, 0], np.argwhere(first)[:, 1]
    lps = (
        np.asarray(positions[0], dtype=float)
        + row[:, None] * [0, SPACING[1], 0]
        + column[:, None] * [SPACING[0], 0, 0]
    )
    k, j, i = np.floor(image.grid.lps_to_ijk(lps) + 0.5 + 1e-6).astype(int)[:, ::-1].T
    assert (found.labels.array[k, j, i] == 1).all()


def test_frames_of_a_multiframe_scan(tmp_path):
    image = read_multiframe(tmp_path / "ct.dcm", LYING["oblique"])
    found = segmentation_of(draw_labels(SHAPE), image.grid, image.source)
    path = written(found, tmp_path / "seg.dcm")
    masks = segments_on(path, image.grid)
    for value, name in NAMES.items():
        if name in masks:
            np.testing.assert_array_equal(masks[name], found.labels.array == value)
    # Each frame refers to the frame of the scan at its place.
    for group in dcmread(path).PerFrameFunctionalGroupsSequence:
        image_of = group.DerivationImageSequence[0].SourceImageSequence[0]
        n = FRAMES[int(image_of.ReferencedFrameNumber) - 1]
        position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        np.testing.assert_allclose(position, image.grid.ijk_to_lps([0, 0, n]), atol=1e-3)


def test_what_it_says_of_the_structures(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    again = dcmread(written(found, tmp_path / "seg.dcm"))
    assert again.SegmentationType == "BINARY"
    liver, parotid, own = again.SegmentSequence
    for item in again.SegmentSequence:
        assert item.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medlsam", __version__)
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    side = parotid.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (side.CodingSchemeDesignator, side.CodeMeaning) == ("SCT", "Left")
    code = own.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeMeaning) == ("99MEDLSAM", "Łódź 7")
    colour = highdicom.color.CIELabColor.from_dicom_value(liver.RecommendedDisplayCIELabValue).to_rgb(
        clip=True
    )
    assert np.abs(np.subtract(colour, colour_of("liver"))).max() <= 1


def test_it_belongs_to_the_series(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    source = dcmread(found.labels.source.files[0])
    again = dcmread(written(found, tmp_path / "seg.dcm"))
    for name in ("PatientName", "PatientID", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyID"):
        assert again[name].value == source[name].value, name
    assert again.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert again.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert again.SeriesInstanceUID != source.SeriesInstanceUID
    known = {dcmread(file).SOPInstanceUID for file in found.labels.source.files}
    referenced = {
        item.ReferencedSOPInstanceUID for item in again.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referenced == known


def test_the_same_result_is_the_same_object(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    first, again = (dcmread(written(found, tmp_path / f"{n}.dcm")) for n in range(2))
    assert first.SOPInstanceUID == again.SOPInstanceUID
    other = LabelMap(
        np.where(found.labels.array == 7, 2, found.labels.array), found.labels.grid, found.labels.source
    )
    changed = dcmread(written(replace(found, labels=other), tmp_path / "other.dcm"))
    assert changed.SOPInstanceUID != first.SOPInstanceUID
    assert changed.SeriesInstanceUID != first.SeriesInstanceUID


def test_nothing_found_is_nothing_written(tmp_path):
    found = series_with_structures(tmp_path / "ct")
    source = found.labels.source
    empty = replace(found, labels=LabelMap(np.zeros(SHAPE, np.uint8), found.labels.grid, source))
    series = read_series_headers(source.files, source.path)
    assert not write_segmentation_object(empty, tmp_path / "seg.dcm", series)
    assert not (tmp_path / "seg.dcm").exists()


def test_more_than_255_structures(tmp_path):
    image = read_ct(tmp_path / "ct", Grid((2, 20, 30), SPACING, ORIGIN))
    labels = np.zeros((2, 20, 30), np.uint16)
    labels[1].flat[:300] = np.arange(1, 301)
    found = segmentation_of(labels, image.grid, image.source, {n: f"part {n}" for n in range(1, 301)})
    masks = segments_on(written(found, tmp_path / "seg.dcm"), image.grid)
    assert len(masks) == 300
    for n in (1, 255, 256, 300):
        np.testing.assert_array_equal(masks[f"part {n}"], labels == n)
