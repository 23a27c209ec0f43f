"""Volumes to files of every format and back, whole or not at all."""

from __future__ import annotations

import stat

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import UsageError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import Image, LabelMap

KINDS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


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
        raise OSError("disk full")

    monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", half)
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


def test_written_files_have_the_usual_permissions(tmp_path, small_ct):
    write_volume(small_ct, tmp_path / "a.nii.gz")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.nii.gz", "plain")]
    assert modes[0] == modes[1]
