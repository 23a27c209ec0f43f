"""A label map in the series' own slices: copied, or each pixel looked up where it lies."""

import numpy as np
import pytest

from medlsam.errors import GeometryError
from medlsam.export.dicom.planes import label_planes
from medlsam.export.dicom.series import read_series_headers
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.volume import LabelMap, Source, to_canonical
from tests.support.data.found_structures import (
    DOT,
    LYING,
    NAMES,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    series_with_structures,
)
from tests.support.dicom_objects import pixel_places


def headers_of(source):
    return read_series_headers(source.files, source.path)


def looked_up(labels, files):
    """The voxel that each pixel's centre lies in, one at a time."""
    ijk = np.floor(labels.grid.lps_to_ijk(pixel_places(files)) + 0.5 + 1e-6).astype(int)
    inside = ((ijk >= 0) & (ijk < labels.grid.shape_zyx[::-1])).all(axis=-1)
    i, j, k = np.where(inside[..., None], ijk, 0).transpose(3, 0, 1, 2)
    return np.where(inside, labels.array[k, j, i], 0)


@pytest.mark.parametrize("lying", LYING)
def test_the_scanners_grid_is_copied(tmp_path, lying):
    found = series_with_structures(tmp_path, LYING[lying])
    planes = label_planes(found.labels, headers_of(found.labels.source))
    np.testing.assert_array_equal(planes, found.labels.array)
    np.testing.assert_array_equal(looked_up(found.labels, found.labels.source.files), planes)


@pytest.mark.parametrize("lying", [lying for lying in LYING if lying != "oblique"])
def test_the_same_voxels_in_another_order_are_found(tmp_path, lying):
    found = series_with_structures(tmp_path, LYING[lying])
    turned = to_canonical(found.labels)
    assert turned.grid != found.labels.grid or lying == "axial"
    # A file without a source, as a NIfTI scan is.
    elsewhere = LabelMap(turned.array, turned.grid)
    np.testing.assert_array_equal(
        label_planes(elsewhere, headers_of(found.labels.source)), found.labels.array
    )


@pytest.mark.parametrize("shear", [(0.0, 0.63, 0.0), (0.0, -1.3 / 2, 0.0), (0.45, -0.8, 0.0)])
def test_a_straightened_gantry_is_tilted_again(tmp_path, shear):
    image = read_ct(tmp_path, Grid(SHAPE, SPACING, ORIGIN), shift_mm=shear)
    assert not image.source.grid_is_scanners
    series, generator = headers_of(image.source), np.random.default_rng(3)
    # What no slice saw holds no structure; everywhere else each voxel has a label of its own.
    seen = label_planes(LabelMap(np.ones(image.array.shape, np.uint8), image.grid, image.source), series)
    assert seen.all()
    assert seen.shape == SHAPE
    labels = generator.permutation(np.arange(1, image.array.size + 1, dtype=np.uint32)).reshape(
        image.array.shape
    )
    planes = label_planes(LabelMap(labels, image.grid, image.source), series)
    np.testing.assert_array_equal(planes, looked_up(LabelMap(labels, image.grid), image.source.files))
    # Nothing is doubled: rows move as a whole, also by exactly half a voxel.
    assert len(np.unique(planes)) == planes.size


def test_a_straightened_scan_shows_the_same_values_in_its_slices(tmp_path):
    shear = (0.0, 1.3, 0.0)
    image = read_ct(tmp_path, Grid(SHAPE, SPACING, ORIGIN), shift_mm=shear)
    # A shift of one voxel from slice to slice interpolates nothing, so the scan itself can be the label map.
    planes = label_planes(
        LabelMap(image.array.astype(np.int32) + 2000, image.grid, image.source), headers_of(image.source)
    )
    noise = np.random.default_rng(0).integers(-900, 900, SHAPE)
    np.testing.assert_array_equal(planes - 2000, noise)


def test_slices_without_labels_and_labels_outside_of_the_series(tmp_path):
    found = series_with_structures(tmp_path)
    series = headers_of(found.labels.source)
    low = Grid((4, *SHAPE[1:]), SPACING, (ORIGIN[0], ORIGIN[1], ORIGIN[2] + 2 * SPACING[2]))
    part = LabelMap(draw_labels(SHAPE)[2:6], low)
    planes = label_planes(part, series)
    np.testing.assert_array_equal(planes[2:6], part.array)
    assert not planes[:2].any()
    assert not planes[6:].any()
    away = Grid(SHAPE, SPACING, (ORIGIN[0] + 500, *ORIGIN[1:]))
    with pytest.raises(GeometryError, match="no slice of this series meets the label map"):
        label_planes(LabelMap(draw_labels(SHAPE), away), series)


def test_another_series_is_not_taken_for_the_scans_own(tmp_path):
    found = series_with_structures(tmp_path / "one")
    # One column to the side of its own, and one slice above.
    for shift in ((SPACING[0], 0, 0), (0, 0, SPACING[2])):
        series = f"2{shift.index(max(shift))}"
        image = read_ct(tmp_path / series, Grid(SHAPE, SPACING, tuple(np.add(ORIGIN, shift))), series=series)
        planes = label_planes(found.labels, headers_of(image.source))
        here, there = (np.s_[:, :, 1:], np.s_[:, :, :-1]) if shift[0] else (np.s_[1:], np.s_[:-1])
        np.testing.assert_array_equal(planes[there], found.labels.array[here])


def test_slices_in_another_order_are_put_where_they_lie(tmp_path):
    found = series_with_structures(tmp_path)
    source = found.labels.source
    backwards = Source(
        source.path, "CT", source.study_uid, source.series_uid, source.files[::-1], grid_is_scanners=True
    )
    planes = label_planes(LabelMap(found.labels.array, found.labels.grid, backwards), headers_of(backwards))
    np.testing.assert_array_equal(planes, found.labels.array[::-1])


def test_slices_of_different_sizes_are_refused(tmp_path):
    found = series_with_structures(tmp_path / "one")
    other = read_ct(tmp_path / "two", Grid((4, 20, 20), SPACING, ORIGIN), series="2")
    files = (*found.labels.source.files, *other.source.files)
    with pytest.raises(GeometryError, match=r"different sizes: \[\(20, 20\), \(26, 31\)\]"):
        label_planes(found.labels, read_series_headers(files, tmp_path))


def test_the_drawing_has_what_the_other_tests_need():
    labels = draw_labels(SHAPE)
    assert (labels == DOT).sum() == 1
    assert set(np.unique(labels)) < {0, *NAMES}


def test_the_reader_of_the_tests_agrees_with_the_library(tmp_path):
    found = series_with_structures(tmp_path, LYING["oblique"])
    again = read_image(tmp_path)
    kji = np.indices(SHAPE).transpose(1, 2, 3, 0)
    np.testing.assert_allclose(
        pixel_places(found.labels.source.files), again.grid.ijk_to_lps(kji[..., ::-1]), atol=1e-4
    )
