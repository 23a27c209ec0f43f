"""DICOM series and zips of them: order, geometry, gantry tilt, and where a scan came from."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.read import read_dicom_slices, read_image
from medlsam.io.write import write_volume
from medlsam.volume import Image, Source
from tests.support.data.dicom_files import write_ct

# Turned about all three axes.
OBLIQUE = (
    0.978147601,
    -0.207911691,
    0.0,
    0.203368322,
    0.956772729,
    -0.207911691,
    0.043227271,
    0.203368322,
    0.978147601,
)


def write_series(volume, folder, series="1", modality="CT", slope=2.0):
    """A DICOM series whose slices store (HU + 1024) / slope."""
    return write_ct(volume, folder, series, t0008_0060=modality, t0028_1053=str(slope))


@pytest.fixture
def even_ct(make_ct):
    """Even values: what a rescale slope of 2 can store."""
    scan = make_ct(
        Grid(
            (10, 28, 32),
            (1.5, 2.0, 2.5),
            (-20.0, 10.0, 300.0),
            (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),
        )
    )
    return Image(scan.array // 2 * 2, scan.grid)


def test_dicom_series_is_read_in_order_and_in_hu(tmp_path, even_ct):
    write_series(even_ct, tmp_path / "series")
    again = read_image(tmp_path / "series")
    assert again.grid.matches(even_ct.grid, 1e-3)
    assert again.array.dtype == np.int16
    np.testing.assert_array_equal(again.array, even_ct.array)


def test_oblique_dicom_series(tmp_path, make_ct):
    grid = Grid((8, 30, 30), (1.0, 1.0, 2.0), (5.0, 6.0, 7.0), OBLIQUE)
    scan = make_ct(grid)
    write_series(scan, tmp_path / "series", slope=1.0)
    again = read_image(tmp_path / "series")
    assert again.grid.matches(grid, 0.01)
    np.testing.assert_array_equal(again.array, scan.array)


def test_the_ct_series_with_most_slices_is_taken(tmp_path, even_ct):
    part = Image(even_ct.array[:4], Grid((4, *even_ct.grid.shape_zyx[1:]), even_ct.grid.spacing_xyz))
    write_series(part, tmp_path / "series", series="2")
    write_series(even_ct, tmp_path / "series", series="1")
    assert read_image(tmp_path / "series").array.shape == even_ct.array.shape


def test_a_zip_of_a_series_or_an_image(tmp_path, even_ct):
    write_series(even_ct, tmp_path / "series")
    for inner in ("", "patient/study/"):
        with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
            for file in (tmp_path / "series").iterdir():
                archive.write(file, inner + file.name)
        again = read_image(tmp_path / "scan.zip")
        np.testing.assert_array_equal(again.array, even_ct.array)
        assert again.path == tmp_path / "scan.zip"
    write_volume(even_ct, tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.write(tmp_path / "a.nii.gz", "a.nii.gz")
        archive.write(tmp_path / "a.nii.gz", "b.nii.gz")
    with pytest.raises(VolumeError, match=r"found 2 image files \(a\.nii\.gz, b\.nii\.gz\)"):
        read_image(tmp_path / "two.zip")


def test_dicom_that_makes_no_volume_is_refused(tmp_path, even_ct):
    write_series(even_ct, tmp_path / "gap")
    (tmp_path / "gap" / "1_0_001.dcm").unlink()
    with pytest.raises(VolumeError, match=r"gap: .*not evenly spaced: usually 2\.5 mm, 5 mm"):
        read_image(tmp_path / "gap")

    write_series(even_ct, tmp_path / "mr", modality="MR")
    with pytest.raises(VolumeError, match="no CT series in this folder, but image of modality MR"):
        read_image(tmp_path / "mr")

    write_series(even_ct, tmp_path / "cut")
    file = tmp_path / "cut" / "1_0_000.dcm"
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(VolumeError, match="damaged"):
        read_image(tmp_path / "cut")

    write_ct(even_ct, tmp_path / "phases", part="0")
    write_ct(Image(even_ct.array + 2, even_ct.grid), tmp_path / "phases", part="1")
    with pytest.raises(VolumeError, match="10 slices lie at the place of another"):
        read_image(tmp_path / "phases")

    first = Image(even_ct.array[:1], Grid((1, *even_ct.grid.shape_zyx[1:])))
    write_series(first, tmp_path / "one")
    with pytest.raises(VolumeError, match="single slice"):
        read_image(tmp_path / "one")

    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="no readable DICOM"):
        read_image(tmp_path / "empty")


def tilted_series(grid, folder, shear):
    """A DICOM series of a plane HU ramp; slice k is shifted by shear(k) mm (x, y) within its plane."""
    write_series(Image(np.zeros(grid.shape_zyx, np.int16), grid), folder)
    direction = np.asarray(grid.direction).reshape(3, 3)
    kji = np.indices(grid.shape_zyx[1:]).reshape(2, -1)[::-1].T
    for file in sorted(folder.iterdir()):
        image = sitk.ReadImage(str(file))
        tags = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        k = int(tags["0020|0013"])
        place = grid.ijk_to_lps([0, 0, k]) + direction[:, :2] @ np.asarray(shear(k))
        points = place + (kji * grid.spacing_xyz[:2]) @ direction[:, :2].T
        plane = np.rint(((points - grid.box.center) @ RAMP - 250) / 2) * 2
        raw = sitk.GetImageFromArray(plane.astype(np.int16).reshape(1, *grid.shape_zyx[1:]))
        raw.SetSpacing(grid.spacing_xyz)
        for key, value in tags.items():
            raw.SetMetaData(key, value)
        raw.SetMetaData("0020|0032", "\\".join(f"{v:.6f}" for v in place))
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(file))
        writer.Execute(raw)


RAMP = np.array([3.0, 5.0, 1.5])


@pytest.mark.parametrize("shear", [(0.0, 0.55), (0.0, -0.8), (0.3, 0.4)])
@pytest.mark.parametrize("direction", [(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0), OBLIQUE])
def test_gantry_tilt_is_taken_out(tmp_path, caplog, shear, direction):
    grid = Grid((12, 40, 44), (1.5, 1.5, 2.0), (-20.0, 10.0, 300.0), direction)
    tilted_series(grid, tmp_path / "tilt", lambda k: np.multiply(shear, k))
    scan = read_image(tmp_path / "tilt")
    assert "gantry tilt" in caplog.text
    assert scan.grid.spacing_xyz == pytest.approx(grid.spacing_xyz)
    assert scan.grid.direction == pytest.approx(grid.direction, abs=1e-6)
    kji = np.indices(scan.grid.shape_zyx).reshape(3, -1).T
    wanted = (scan.grid.ijk_to_lps(kji[:, ::-1]) - grid.box.center) @ RAMP - 250
    wanted = wanted.reshape(scan.array.shape)
    seen = scan.array > -1024
    # Three voxels from what no slice saw, linear sampling of a ramp is exact up to rounding to even HU.
    inner = ndimage.binary_erosion(seen, np.ones((1, 7, 7)), border_value=0)
    assert inner.sum() > 0.5 * grid.shape_zyx[0] * grid.shape_zyx[1] * grid.shape_zyx[2]
    assert np.abs(scan.array - wanted)[inner].max() <= 2
    # Nothing of the slices is lost.
    assert seen.sum() >= 0.95 * np.prod(grid.shape_zyx)


def test_slices_that_wander_are_refused(tmp_path):
    grid = Grid((12, 30, 30), (1.5, 1.5, 2.0), (-20.0, 10.0, 300.0))
    tilted_series(grid, tmp_path / "curved", lambda k: (0.0, 0.1 * k**2))
    with pytest.raises(VolumeError, match=r"curved: the slices are shifted.*no gantry tilt"):
        read_image(tmp_path / "curved")
    tilted_series(grid, tmp_path / "steep", lambda k: (0.0, 2.5 * k))
    with pytest.raises(VolumeError, match=r"steep: the slices are shifted.*51\.3 degrees"):
        read_image(tmp_path / "steep")


@pytest.mark.realdata
def test_a_real_dicom_series_is_the_same_scan_as_its_nifti(real_ct):
    series = read_image(real_ct / "dicom" / "ts_example")
    image = read_image(real_ct / "body" / "ts_example_dicom" / "image.nii.gz")
    assert series.grid.matches(image.grid)
    np.testing.assert_array_equal(series.array, image.array)


def check_source(scan, folder, study="1.2.3", series="1.2.3.1"):
    """The source holds the headers' own words, and its files follow the slices."""
    source = scan.source
    assert (source.path, source.modality) == (folder, "CT")
    assert (source.study_uid, source.series_uid) == (study, series)
    assert len(source.files) == len(scan.array)
    for n, file in enumerate(source.files):
        place = [float(v) for v in sitk.ReadImage(str(file)).GetMetaData("0020|0032").split("\\")]
        assert scan.grid.lps_to_ijk(place)[2] == pytest.approx(n, abs=1e-3)


@pytest.mark.parametrize("direction", [(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0), OBLIQUE])
def test_a_series_says_where_it_came_from(tmp_path, make_ct, direction):
    ct = make_ct(Grid((8, 20, 24), (3.0, 3.0, 4.0), (5.0, 6.0, 7.0), direction))
    files = write_ct(ct, tmp_path / "series")
    # Another series in the same folder is no part of it.
    write_ct(Image(ct.array[:4], Grid((4, 20, 24), (3.0, 3.0, 4.0))), tmp_path / "series", series="2")
    scan = read_image(tmp_path / "series")
    check_source(scan, tmp_path / "series")
    assert scan.source.files == tuple(files)
    assert scan.source.grid_is_scanners
    again = read_dicom_slices([str(file) for file in files], tmp_path)
    check_source(again, tmp_path)
    assert again.source == replace(scan.source, path=tmp_path)
    np.testing.assert_array_equal(again.array, scan.array)


def test_a_straightened_series_does_not_lie_on_the_scanners_grid(tmp_path, make_ct):
    ct = make_ct(Grid((12, 40, 44), (1.5, 1.5, 2.0), (-20.0, 10.0, 300.0)))
    write_ct(ct, tmp_path / "tilt", shift_mm=(0.0, 0.55, 0.0))
    scan = read_image(tmp_path / "tilt")
    check_source(scan, tmp_path / "tilt")
    assert scan.array.shape != ct.array.shape
    assert not scan.source.grid_is_scanners


def test_a_zipped_series_keeps_its_names_but_no_files(tmp_path, make_ct):
    ct = make_ct(Grid((8, 20, 24), (3.0, 3.0, 4.0)))
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in write_ct(ct, tmp_path / "series"):
            archive.write(file, file.name)
    source = read_image(tmp_path / "scan.zip").source
    assert source == Source(tmp_path / "scan.zip", "CT", "1.2.3", "1.2.3.1", (), grid_is_scanners=True)


def test_other_files_say_their_path_alone(tmp_path, small_ct):
    write_volume(small_ct, tmp_path / "a.nii.gz")
    source = read_image(tmp_path / "a.nii.gz").source
    assert len(source.nifti_header) == 348
    assert replace(source, nifti_header=b"") == Source(tmp_path / "a.nii.gz")


def test_a_single_file_may_hold_a_whole_series(tmp_path, small_ct):
    image = sitk.GetImageFromArray(small_ct.array)
    for tag, text in {"0008|0060": "CT", "0020|000d": "1.2.3", "0020|000e": "1.2.3.4"}.items():
        image.SetMetaData(tag, text)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(tmp_path / "scan.dcm"))
    writer.Execute(image)
    file = tmp_path / "scan.dcm"
    for scan in (read_image(file), read_dicom_slices([str(file)], file)):
        assert replace(scan.source, frames=()) == Source(
            file, "CT", "1.2.3", "1.2.3.4", (file,), grid_is_scanners=True
        )
        assert scan.source.frames == tuple(range(len(small_ct.array)))
        np.testing.assert_array_equal(scan.array, small_ct.array)
