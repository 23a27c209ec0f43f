"""Volume files: every format, DICOM series and zips of them, atomic writes."""

from __future__ import annotations

import shutil
import stat
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from medlsam.errors import UsageError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import Image, LabelMap

KINDS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
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


@pytest.mark.parametrize("kind", KINDS)
def test_scans_round_trip_in_every_format(tmp_path, small_ct, kind):
    path = tmp_path / "new" / f"scan{kind}"
    write_volume(small_ct, path)
    again = read_image(path)
    np.testing.assert_array_equal(again.array, small_ct.array)
    assert again.array.dtype == np.int16
    assert again.grid.matches(small_ct.grid, 1e-3)
    assert again.path == path
    write_volume(Image(small_ct.array + np.float32(0.25), small_ct.grid), path)
    assert read_image(path).array.dtype == np.float32
    assert sorted(f.suffix for f in path.parent.iterdir()) == (
        [".mhd", ".zraw"] if kind == ".mhd" else [path.suffix]
    )


@pytest.mark.parametrize(
    ("kind", "values", "stored"),
    [
        (LabelMap, np.array([0, 255]), np.uint8),
        (LabelMap, np.array([0, 256]), np.uint16),
        (LabelMap, np.array([0, 3], np.int16), np.uint8),
        (LabelMap, np.array([0, 3], np.float64), np.uint8),
        (LabelMap, np.array([0, 65535], np.float32), np.uint16),
        (LabelMap, np.array([False, True]), np.uint8),
        (Image, np.array([-5, 7], np.int32), np.int16),
        (Image, np.array([0, 3071], np.uint16), np.int16),
        (Image, np.array([0, 255], np.uint8), np.int16),
        (Image, np.array([0, 40000], np.uint16), np.float32),
        (Image, np.array([0.5, 1.5]), np.float32),
    ],
)
def test_written_types(tmp_path, kind, values, stored):
    array = np.broadcast_to(values, (2, 2, 2))
    write_volume(kind(array, Grid((2, 2, 2))), tmp_path / "a.nii.gz")
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")))
    assert read.dtype == stored
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (LabelMap(np.full((2, 2, 2), 70000), Grid((2, 2, 2))), "70000 to 70000 are not whole labels"),
        (LabelMap(np.full((2, 2, 2), -1, np.int8), Grid((2, 2, 2))), "-1 to -1 are not whole labels"),
        (LabelMap(np.full((2, 2, 2), 1.5), Grid((2, 2, 2))), "1.5 to 1.5 are not whole labels"),
        (LabelMap(np.full((2, 2, 2), np.nan), Grid((2, 2, 2))), "nan to nan are not whole labels"),
        (Image(np.full((2, 2, 2), 2**24 + 1), Grid((2, 2, 2))), "neither int16 nor float32"),
        (Image(np.full((2, 2, 2), 1j), Grid((2, 2, 2))), "cannot store complex128"),
    ],
)
def test_what_the_stored_types_do_not_hold_is_refused(tmp_path, volume, words):
    with pytest.raises(VolumeError, match=words):
        write_volume(volume, tmp_path / "a.nii.gz")
    assert not list(tmp_path.iterdir())


def test_writing_refuses_in_words_and_leaves_what_was_there(tmp_path, small_ct, monkeypatch):
    with pytest.raises(UsageError, match=r"scan\.png.*nii\.gz"):
        write_volume(small_ct, tmp_path / "scan.png")
    path = tmp_path / "scan.nii.gz"
    write_volume(small_ct, path)
    before = path.read_bytes()

    def half(image, name, **options):
        with open(name, "wb") as file:
            file.write(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", half)
    with pytest.raises(VolumeError, match="disk full"):
        write_volume(small_ct, path)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_padding_is_clipped_and_whole_floats_become_int16(tmp_path, small_ct):
    padded = small_ct.array.astype(np.float64)
    padded[:2], padded[2:4] = -3024, -2000
    sitk.WriteImage(sitk.GetImageFromArray(padded), str(tmp_path / "scan.nrrd"))
    again = read_image(tmp_path / "scan.nrrd")
    assert again.array.dtype == np.int16
    assert (again.array[:4] == -1024).all()
    np.testing.assert_array_equal(again.array[4:], small_ct.array[4:])


@pytest.mark.parametrize("kind", [".nii", ".nrrd"])
def test_a_fourth_axis_of_one_is_dropped(tmp_path, small_ct, kind):
    image = sitk.JoinSeries([sitk.GetImageFromArray(small_ct.array)])
    sitk.WriteImage(image, str(tmp_path / f"scan{kind}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"scan{kind}").array, small_ct.array)


def write_series(volume, folder, series="1", modality="CT", slope=2.0, intercept=-1024.0, offset=0):
    """A DICOM series of a volume, slices in shuffled file order; GDCM stores (HU - intercept) / slope."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.asarray(volume.grid.direction).reshape(3, 3)
    for n, plane in enumerate(volume.array):
        image = sitk.GetImageFromArray(plane[None])
        image.SetSpacing(volume.grid.spacing_xyz)
        place = volume.grid.ijk_to_lps([0, 0, n])
        tags = {
            "0008|0060": modality,
            "0008|0018": f"1.2.3.{series}.{n}",
            "0020|000e": f"1.2.3.{series}",
            "0020|000d": "1.2.3",
            "0020|0032": "\\".join(f"{v:.6f}" for v in place),
            "0020|0037": "\\".join(f"{v:.9f}" for v in direction[:, :2].T.ravel()),
            "0020|0013": str(n),
            "0018|0050": str(volume.grid.spacing_xyz[2]),
            "0028|1052": str(intercept),
            "0028|1053": str(slope),
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{(n * 7) % len(volume.array) + offset:03d}.dcm"))
        writer.Execute(image)


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
    with pytest.raises(VolumeError, match="0 series folders and 2 image files"):
        read_image(tmp_path / "two.zip")


def test_dicom_that_makes_no_volume_is_refused(tmp_path, even_ct):
    write_series(even_ct, tmp_path / "gap")
    (tmp_path / "gap" / "1_001.dcm").unlink()
    with pytest.raises(VolumeError, match=r"gap: .*not evenly spaced: usually 2\.5 mm, 5 mm"):
        read_image(tmp_path / "gap")

    write_series(even_ct, tmp_path / "mr", modality="MR")
    with pytest.raises(VolumeError, match="modality MR, not CT"):
        read_image(tmp_path / "mr")

    write_series(even_ct, tmp_path / "cut")
    file = tmp_path / "cut" / "1_000.dcm"
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(VolumeError, match="damaged"):
        read_image(tmp_path / "cut")

    write_series(even_ct, tmp_path / "phases")
    for n in range(10):
        shutil.copy(tmp_path / "phases" / f"1_{n:03d}.dcm", tmp_path / "phases" / f"again_{n}.dcm")
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


def test_written_files_have_the_usual_permissions(tmp_path, small_ct):
    write_volume(small_ct, tmp_path / "a.nii.gz")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.nii.gz", "plain")]
    assert modes[0] == modes[1]


@pytest.mark.realdata
def test_a_real_dicom_series_is_the_same_scan_as_its_nifti(real_ct):
    series = read_image(real_ct / "dicom" / "ts_example")
    image = read_image(real_ct / "body" / "ts_example_dicom" / "image.nii.gz")
    assert series.grid.matches(image.grid)
    np.testing.assert_array_equal(series.array, image.array)
