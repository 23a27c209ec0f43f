"""Scans that must not be used: each is refused naming the file, the value found and what to do."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import VolumeError
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import Image


@pytest.fixture
def save(tmp_path):
    """``save(array, name, spacing)`` writes an array with SimpleITK, unchecked, and returns the path."""

    def write(array, name="scan.nii.gz", spacing=None):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing or (1.0,) * image.GetDimension())
        sitk.WriteImage(image, str(tmp_path / name))
        return tmp_path / name

    return write


def refused(path, words):
    with pytest.raises(VolumeError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_not_3d(save, small_ct, tmp_path):
    refused(save(small_ct.array[3]), r"2D image \(32 x 28\); medlsam needs a 3D scan")
    refused(save(small_ct.array[3:4]), r"single slice \(32 x 28 x 1 voxels\)")
    refused(save(small_ct.array[:, 3:4]), r"single slice \(32 x 1 x 24 voxels\)")
    image = sitk.GetImageFromArray(small_ct.array)
    sitk.WriteImage(sitk.JoinSeries([image, image, image]), str(tmp_path / "4d.nii.gz"))
    refused(tmp_path / "4d.nii.gz", r"4D \(32 x 28 x 24 x 3\).*one 3D scan per file")
    sitk.WriteImage(sitk.Compose([image, image]), str(tmp_path / "colour.nrrd"))
    refused(tmp_path / "colour.nrrd", "2 values per voxel")


@pytest.mark.parametrize("kind", [".nii.gz", ".nrrd", ".mha"])
def test_absurd_spacing(save, small_ct, kind):
    refused(
        save(small_ct.array, f"a{kind}", (1.0, 1.0, 50.0)), "spacing 1 x 1 x 50 mm is outside 0.1 to 20 mm"
    )
    refused(save(small_ct.array, f"a{kind}", (0.05, 0.05, 1.0)), "spacing 0.05 x 0.05 x 1 mm is outside")
    long = np.tile(small_ct.array[:, :2, :2], (9, 1, 1))
    refused(save(long, f"a{kind}", (1.0, 1.0, 15.0)), r"make 3\.2 m, longer than any scan")


def test_no_spacing(small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[80:92] = struct.pack("<3f", 0, 0, 0)
    (tmp_path / "a.nii").write_bytes(data)
    refused(tmp_path / "a.nii", r"no voxel spacing in the header \(pixdim \(0.0, 0.0, 0.0\)\)")

    sizes = b" ".join(str(n).encode() for n in small_ct.array.shape[::-1])
    nrrd = b"NRRD0004\ntype: short\ndimension: 3\nsizes: " + sizes + b"\nencoding: raw\nendian: little\n\n"
    (tmp_path / "a.nrrd").write_bytes(nrrd + small_ct.array.tobytes())
    refused(tmp_path / "a.nrrd", "no voxel spacing in the header")

    mha = b"ObjectType = Image\nNDims = 3\nDimSize = " + sizes + b"\nElementType = MET_SHORT\n"
    end = b"ElementDataFile = LOCAL\n" + small_ct.array.tobytes()
    (tmp_path / "a.mha").write_bytes(mha + end)
    refused(tmp_path / "a.mha", "no voxel spacing in the header")
    (tmp_path / "a.mha").write_bytes(mha + b"ElementSpacing = 1 1 0\n" + end)
    refused(tmp_path / "a.mha", "zero voxel spacing in the header")
    (tmp_path / "a.mha").write_bytes(mha + b"ElementSpacing = 1 1 2\n" + end)
    np.testing.assert_array_equal(read_image(tmp_path / "a.mha").array, small_ct.array)


def test_axes_that_are_not_at_right_angles(small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[284:288] = struct.pack("<f", 0.7)
    (tmp_path / "a.nii").write_bytes(data)
    # The qform is still sound.
    assert read_image(tmp_path / "a.nii").grid.matches(small_ct.grid, 1e-3)
    data[252:254] = struct.pack("<h", 0)
    (tmp_path / "a.nii").write_bytes(data)
    refused(tmp_path / "a.nii", "not at right angles.*resample")
    data[280:284] = struct.pack("<f", float("nan"))
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(VolumeError, match=r"a\.nii"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan(save, small_ct, kind, value):
    array = small_ct.array.astype(np.float32)
    array[3, 4, 5:7] = value
    refused(save(array, f"a{kind}"), "2 (of 21504 )?values are NaN or infinite; replace them")


def test_nan_at_the_end_of_an_odd_float_file(save, small_ct):
    array = small_ct.array[:3, :3, :3].astype(np.float32)
    array[-1, -1, -1] = np.nan
    refused(save(array, "a.nii"), "1 values are NaN")


def test_constant(save):
    refused(save(np.full((8, 8, 8), -1000, np.int16)), "every value is -1000")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: np.clip((hu + 160) / 400 * 255, 0, 255).astype(np.uint8), "8-bit"),
        (lambda hu: hu + 1024, "rescale intercept was not applied; subtract 1024"),
        (lambda hu: np.maximum(hu + 1000, 0).astype(np.uint16), "rescale intercept was not applied"),
        (lambda hu: np.clip((hu + 1000) * 0.4, 0, None).astype(np.float32), "MR or another modality"),
        (lambda hu: ((hu - hu.mean()) / hu.std()).astype(np.float32), "looks normalised"),
        (lambda hu: ((hu + 1024) / 2000).astype(np.float32), "looks normalised"),
        (lambda hu: (hu - 1024).astype(np.int16), "subtracted twice"),
        (lambda hu: np.where(hu > 600, np.float32(60000), hu).astype(np.float32), "no material reaches"),
    ],
)
def test_not_ct(save, small_ct, change, words):
    refused(save(change(small_ct.array)), f"not CT in HU: values .*{words}")


def test_metal_air_and_soft_tissue_only_are_ct(save, small_ct):
    metal = small_ct.array.copy()
    metal[metal > 600] = 30000
    assert read_image(save(metal)).array.max() == 30000
    cropped = np.clip(small_ct.array, -160, 240)
    assert read_image(save(cropped)).array.min() == -160


@pytest.mark.parametrize("kind", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_truncated(small_ct, tmp_path, kind, part):
    path = tmp_path / f"scan{kind}"
    write_volume(small_ct, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    refused(path, "truncated|damaged")


def test_damaged_in_the_middle(small_ct, tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_volume(small_ct, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    refused(path, "damaged")


def test_no_image_at_all(small_ct, tmp_path):
    refused(tmp_path / "none.nii.gz", "no such file")
    for name, content, words in (
        ("empty.nii.gz", b"", "0 bytes"),
        ("text.nii.gz", b"hello", "not a NIfTI file"),
        ("text.mha", b"hello", "spacing|cannot be read"),
        ("notes.txt", b"hello", r"unknown kind of file; known are \.nii\.gz"),
        ("scan.zip", b"PKhello", "zip cannot be unpacked"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, words)
    write_volume(small_ct, tmp_path / "pair.mhd")
    (tmp_path / "pair.zraw").unlink()
    refused(tmp_path / "pair.mhd", "data file missing")


def test_a_bad_scan_in_a_zip_is_named_by_the_zip(save, small_ct, tmp_path):
    save(small_ct.array + 1024, "inner.nii.gz")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(tmp_path / "inner.nii.gz", "inner.nii.gz")
    refused(tmp_path / "scan.zip", "subtract 1024")
    save(small_ct.array[3], "inner.nii.gz")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(tmp_path / "inner.nii.gz", "inner.nii.gz")
    refused(tmp_path / "scan.zip", "scan.zip/inner.nii.gz: a 2D image")


def test_a_file_without_orientation_is_read_with_a_warning(small_ct, tmp_path, caplog):
    write_volume(Image(small_ct.array, small_ct.grid), tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[252:256] = struct.pack("<2h", 0, 0)
    (tmp_path / "a.nii").write_bytes(data)
    assert read_image(tmp_path / "a.nii").array.shape == small_ct.array.shape
    assert "no orientation" in caplog.text
