"""Values of a scan: read part by part into the smallest array, and refused by name where they are not HU."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.hounsfield import recognised_shift
from medlsam.io.labels import read_label_map
from medlsam.io.nifti import nifti_grid, nifti_header, nifti_parts
from medlsam.io.read import read_image
from medlsam.io.values import collect
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom

# Reading


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, 0), (0, 0), (2, -7), (0.5, 0), (np.nan, np.nan), (0, -9)]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_values_are_scaled_as_the_header_says(tmp_path, kind, slope, intercept, suffix):
    path = tmp_path / f"a{suffix}"
    array = np.random.default_rng(0).integers(-100, 120, (3, 4, 5)).clip(np.iinfo(np.int8).min, None)
    array = (array - array.min() if np.dtype(kind).kind == "u" else array).astype(kind)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "a.nii"))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[112:120] = struct.pack("<2f", slope, intercept)
    path.write_bytes(gzip.compress(bytes(data)) if suffix == ".nii.gz" else bytes(data))
    # A slope of 0 or no number means no scaling at all (NIfTI-1), whatever the intercept.
    wanted = array.ravel() * np.float64(slope) + intercept if slope and np.isfinite(slope) else array.ravel()
    np.testing.assert_array_equal(np.concatenate(list(nifti_parts(path, nifti_header(path)))), wanted)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_and_both_byte_orders(tmp_path, small_ct, order):
    header = bytearray(544)
    struct.pack_into(f"{order}i", header, 0, 540)
    header[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into(f"{order}2h", header, 12, 4, 16)
    struct.pack_into(f"{order}8q", header, 16, 3, *small_ct.array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into(f"{order}8d", header, 104, 1, *small_ct.grid.spacing_xyz, 1, 1, 1, 1)
    struct.pack_into(f"{order}q", header, 168, 544)
    struct.pack_into(f"{order}2d", header, 176, 2.0, -1000.0)
    stored = ((small_ct.array + 1000) // 2).astype(f"{order}i2")
    (tmp_path / "a.nii").write_bytes(bytes(header) + stored.tobytes())
    found = nifti_header(tmp_path / "a.nii")
    assert nifti_grid(tmp_path / "a.nii", found).spacing_xyz == pytest.approx(small_ct.grid.spacing_xyz)
    parts = np.concatenate(list(nifti_parts(tmp_path / "a.nii", found)))
    np.testing.assert_array_equal(parts, small_ct.array.ravel() // 2 * 2)


def test_parts_of_all_kinds_become_one_small_array(tmp_path):
    whole = [np.arange(4, dtype=np.uint8), np.array([-5.0, 32767.0, 2.0, 1.0]), np.array([-99999] * 4)]
    array = collect(iter(whole), (1, 3, 4), tmp_path)
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array.ravel(), [0, 1, 2, 3, -5, 32767, 2, 1, *[-32768] * 4])
    # One part that is not whole, or too large, after others that are.
    for late in (np.array([0.25, 1.0, 2.0, 3.0]), np.array([32768, 1, 2, 3])):
        array = collect(iter([whole[1], late, whole[0]]), (1, 3, 4), tmp_path)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array.ravel(), np.concatenate([whole[1], late, whole[0]]))


def test_parts_that_are_too_many_or_not_finite(tmp_path):
    parts = [np.zeros(8, np.int16), np.array([1.0, np.nan, np.inf, 3.0])]
    with pytest.raises(VolumeError, match="2 values are NaN"):
        collect(iter(parts), (1, 3, 4), tmp_path / "a.nii")
    for shape in ((1, 2, 4), (2, 2, 4)):
        with pytest.raises(VolumeError, match=r"a\.nii: the file holds"):
            collect(iter(parts), shape, tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_scan_is_read_a_part_at_a_time(tmp_path, make_ct, monkeypatch, suffix):
    """Never more than a part beside the array: what bounds memory for scans of thousands of slices."""
    scan = make_ct(Grid((60, 100, 100), (1.0, 1.0, 2.0)))
    write_volume(scan, tmp_path / f"scan{suffix}")
    sizes = []

    def watched(parts, shape, path):
        return collect((sizes.append(part.size) or part for part in parts), shape, path)

    monkeypatch.setattr("medlsam.io.read.collect", watched)
    monkeypatch.setattr("medlsam.io.nifti._CHUNK", 1 << 18)
    np.testing.assert_array_equal(read_image(tmp_path / f"scan{suffix}").array, scan.array)
    assert sum(sizes) == scan.array.size
    assert max(sizes) <= 1 << 17


def test_label_maps_with_slope_and_intercept(tmp_path):
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / "l.nii"))
    data = bytearray((tmp_path / "l.nii").read_bytes())
    data[112:120] = struct.pack("<2f", 20, 5)
    (tmp_path / "l.nii").write_bytes(data)
    labels = read_label_map(tmp_path / "l.nii").array
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, stored * 20 + 5)


# HU or not


@pytest.fixture(scope="module")
def trunk():
    return phantom(4, (4.0, 4.0, 5.0), (250, 420)).image


def round_field(array):
    """Outside of the circle that a scanner reconstructs."""
    _, rows, columns = array.shape
    y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return np.broadcast_to(x**2 + y**2 > 1, array.shape)


def softened(array):
    """Resampled after it was padded: the padding's border holds all values in between."""
    return np.rint(ndimage.uniform_filter(array.astype(np.float32), (1, 2, 2)))


RAISED = "rescale intercept was not applied; subtract 1024"
LOWERED = "subtracted twice"
SHIFTS = {
    "stored values of a scanner that pads with -2000": (lambda a: padded(a + 1024, -2000), RAISED),
    "the same, resampled": (lambda a: softened(padded(a + 1024, -2000)), RAISED),
    "stored values, rotated and filled with -1024": (lambda a: padded(a + 1024, -1024), RAISED),
    "1000 too high": (lambda a: padded(a + 1000, -3024), RAISED),
    "unsigned": (lambda a: (a + 1024).clip(0).astype(np.uint16), RAISED),
    "1024 too low": (lambda a: a - 1024, LOWERED),
    "1000 too low, padded": (lambda a: padded(a - 1000, -3024), LOWERED),
    "8-bit": (lambda a: ((a + 160) / 400 * 255).clip(0, 255).astype(np.uint8), "8-bit"),
    "8-bit with a sign": (lambda a: ((a + 160) / 400 * 255 - 128).clip(-128, 127).astype(np.int8), "8-bit"),
}


def padded(array, value):
    return np.where(round_field(array), value, array)


@pytest.mark.parametrize("case", list(SHIFTS))
def test_shifted_hu_are_named_with_the_file_and_what_to_do(tmp_path, trunk, case):
    change, words = SHIFTS[case]
    image = sitk.GetImageFromArray(change(trunk.array.astype(np.int32)))
    image.SetSpacing(trunk.grid.spacing_xyz)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    with pytest.raises(VolumeError, match=rf"scan\.nii\.gz: not CT in HU: values .*{words}"):
        read_image(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("padding", [-1024, -2000, -3024])
@pytest.mark.parametrize("change", [lambda a: a, softened])
def test_padded_scans_are_read(tmp_path, trunk, padding, change):
    image = sitk.GetImageFromArray(change(padded(trunk.array, padding)))
    image.SetSpacing(trunk.grid.spacing_xyz)
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    array = read_image(tmp_path / "scan.nii.gz").array
    assert array.dtype == np.int16
    assert array.min() == -1024


@pytest.mark.parametrize("region", ["head-neck", "thorax", "abdomen", "pelvis"])
@pytest.mark.parametrize(
    "options",
    [{}, {"metal": True, "arms": True}, {"table": False, "padding_hu": -3024}, {"fov_mm": 120.0}],
    ids=str,
)
def test_no_phantom_counts_as_shifted_and_every_shifted_one_does(region, options):
    array = phantom(7, (6.0, 6.0, 6.0), region, **options).image.array
    dark = options.get("padding_hu", -1024)
    assert recognised_shift(array) == 0
    assert recognised_shift(np.where(array == dark, -2000, array + 1024)) == 1
    assert recognised_shift(np.where(array == dark, -3024, array - 1024)) == -1


@pytest.mark.realdata
def test_no_real_scan_counts_as_shifted_and_every_shifted_one_does(real_ct):
    scans = [
        *sorted(real_ct.glob("body/*/image.nii.gz"))[::2],
        *sorted(real_ct.glob("lesions/sts_*/image.nii.gz"))[::6],
        *sorted(real_ct.glob("openkbp/templates/imagesTr/*.nii.gz"))[::2],
    ]
    assert len(scans) > 10
    for path in scans:
        array = read_image(path).array
        step = max(1, round((array.size / 2e5) ** (1 / 3)))
        array = array[::step, ::step, ::step]
        for kind in (lambda a: a, softened):
            assert recognised_shift(kind(padded(array, -3024))) == 0, path
            assert recognised_shift(kind(padded(array + 1024, -2000))) == 1, path
            assert recognised_shift(kind(padded(array - 1024, -3024))) == -1, path
        metal = np.where(np.random.default_rng(0).random(array.shape) < 0.004, 3071, array)
        assert recognised_shift(metal) == 0, path
