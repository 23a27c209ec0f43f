"""The series of a scan that is no DICOM: found by its voxels, or refused with what differs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from medlsam.errors import GeometryError, VolumeError
from medlsam.export.dicom.planes import label_planes
from medlsam.export.dicom.reference import find_reference
from medlsam.geometry import Grid
from medlsam.volume import Image, LabelMap, to_canonical
from tests.support.data.dicom_files import REPORT, write_ct, write_object
from tests.support.data.found_structures import (
    LYING,
    ORIGIN,
    SHAPE,
    SPACING,
    draw_labels,
    read_ct,
    series_with_structures,
)


@pytest.mark.parametrize("lying", LYING)
def test_the_voxels_decide_whatever_their_order(tmp_path, lying):
    found = series_with_structures(tmp_path / "ct", LYING[lying]).labels
    # Other objects of the study, and a series that lies elsewhere.
    write_object(tmp_path / "report.dcm", REPORT, "SR")
    shifted = Grid(SHAPE, SPACING, (ORIGIN[0] + 0.5, *ORIGIN[1:]), LYING[lying])
    write_ct(Image(np.zeros(SHAPE, np.int16), shifted), tmp_path / "other", series="2")
    scan = to_canonical(found) if found.grid.is_axis_aligned else LabelMap(found.array, found.grid)
    series = find_reference(tmp_path, scan.grid, "scan.nii.gz")
    assert series.uid == "1.2.3.1"
    planes = label_planes(LabelMap(scan.array, scan.grid), series)
    order = [found.source.files.index(Path(header.filename)) for header in series.headers]
    np.testing.assert_array_equal(planes, found.array[order])


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (
            Grid((8, *SHAPE[1:]), SPACING, ORIGIN),
            r"\(9, 26, 31\) slices, rows and columns, the scan has \(8, 26, 31\)",
        ),
        (
            Grid(SHAPE, SPACING, (ORIGIN[0] + 0.3, *ORIGIN[1:])),
            r"its edges \(x-.*lie \[-0\.3, 0\.0, 0\.0, -0\.3,",
        ),
        (Grid(SHAPE, (0.9, 1.3, 2.6), ORIGIN), r"lie \[0\.0, 0\.0, 0\.0, 0\.0, 0\.0, -0\.8\] mm"),
        (Grid(SHAPE, SPACING, ORIGIN, LYING["prone"]), "its edges"),
    ],
)
def test_another_geometry_is_told(tmp_path, grid, told):
    series_with_structures(tmp_path)
    with pytest.raises(
        GeometryError, match=f"no series here has the voxels of scan: series 1.2.3.1: .*{told}"
    ):
        find_reference(tmp_path, grid, "scan")
    # A tenth of a millimetre is rounding.
    near = Grid(SHAPE, SPACING, (ORIGIN[0] + 0.09, *ORIGIN[1:]))
    assert find_reference(tmp_path, near, "scan").uid == "1.2.3.1"


def test_a_tilted_series_is_not_the_upright_scan(tmp_path):
    read_ct(tmp_path, Grid(SHAPE, SPACING, ORIGIN), shift_mm=(0.0, 0.63, 0.0))
    with pytest.raises(GeometryError, match="its edges"):
        find_reference(tmp_path, Grid(SHAPE, SPACING, ORIGIN), "scan")


def test_an_uneven_series_is_not_the_even_scan(tmp_path):
    grid = Grid(SHAPE, SPACING, ORIGIN)
    write_ct(Image(np.zeros(SHAPE, np.int16), grid), tmp_path)
    moved = next(file for file in tmp_path.iterdir() if dcmread(file).InstanceNumber == 4)
    header = dcmread(moved)
    header.ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + 4 * SPACING[2] + 0.4]
    header.save_as(moved)
    with pytest.raises(GeometryError, match=r"its slices lie up to 0\.40 mm beside the scan's voxels"):
        find_reference(tmp_path, grid, "scan")


def test_two_series_with_the_same_voxels_are_not_chosen_from(tmp_path):
    found = series_with_structures(tmp_path / "one").labels
    write_ct(Image(np.zeros(SHAPE, np.int16), found.grid), tmp_path / "two", series="2")
    with pytest.raises(GeometryError, match=r"2 series have the voxels of scan \(1\.2\.3\.1, 1\.2\.3\.2\)"):
        find_reference(tmp_path, found.grid, "scan")


def test_half_a_series_is_not_the_scan(tmp_path):
    grid = series_with_structures(tmp_path / "one").labels.grid
    (tmp_path / "one" / "1_0_000.dcm").unlink()
    with pytest.raises(GeometryError, match="8, 26, 31"):
        find_reference(tmp_path, grid, "scan")
    shutil.rmtree(tmp_path / "one")
    with pytest.raises(VolumeError, match="no DICOM image series here"):
        find_reference(tmp_path, grid, "scan")


def test_twice_the_same_slice_is_not_the_scan(tmp_path):
    grid = series_with_structures(tmp_path).labels.grid
    headers = {int(dcmread(file).InstanceNumber): file for file in tmp_path.iterdir()}
    copy = dcmread(headers[3])
    copy.SOPInstanceUID = "1.2.3.99"
    copy.save_as(headers[4])
    with pytest.raises(GeometryError, match="its slices lie"):
        find_reference(tmp_path, grid, "scan")


def test_the_drawing_is_not_symmetric():
    labels = draw_labels(SHAPE)
    for axis in range(3):
        assert (labels != np.flip(labels, axis)).any()
