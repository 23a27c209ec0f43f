"""Values around and in the body that no scanner writes: made air, or told."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from medlsam.errors import VolumeError
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.phantoms import phantom
from medlsam.volume import Image
from medlsam.volume.field_of_view import fill_field_of_view, fill_from_border


@pytest.fixture(scope="module")
def chest():
    return phantom(3, (4.0, 4.0, 5.0), "thorax").image


def outside(array):
    """Around a round field of view."""
    _, rows, columns = array.shape
    y, x = np.mgrid[:rows, :columns]
    return np.broadcast_to(((y / (rows - 1) - 0.5) ** 2 + (x / (columns - 1) - 0.5) ** 2) > 0.25, array.shape)


@pytest.mark.parametrize("value", [0, -3024, -2000, 100])
def test_padding_around_the_field_of_view(chest, tmp_path, caplog, value):
    padded = np.where(outside(chest.array), value, chest.array).astype(np.int16)
    write_volume(Image(padded, chest.grid), tmp_path / "a.nii.gz")
    found = read_image(tmp_path / "a.nii.gz").array
    wanted = np.where(outside(chest.array), -1024, chest.array)
    # Where the body reaches the border of the field of view, single voxels of it may have the value too.
    assert (found == wanted).mean() > 0.9995
    assert ("HU around the body; taken as air" in caplog.text) == (value > -1024)
    assert "cannot be trusted" not in caplog.text


def test_tissue_of_one_value_inside_is_no_padding(chest):
    array = chest.array.copy()
    array[:, 20:30, 20:30] = 0
    array[:, :5] = array[:, -5:] = array[:, :, :5] = array[:, :, -5:] = 1
    before = array.copy()
    assert fill_from_border(array, 0, -1024) == 0
    np.testing.assert_array_equal(array, before)


def test_a_scan_as_it_was_reconstructed_stays_as_it_is(chest, tmp_path, caplog):
    before = chest.array.copy()
    assert fill_field_of_view(before) == ""
    write_volume(chest, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").array, np.maximum(chest.array, -1024))
    assert not caplog.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: np.where(hu < -200, 0, hu), "no voxel is air: values go from -"),
        (
            lambda hu: np.clip(hu, -160, 240),
            r"no voxel is air: values go from -160 to 240 \(\d+ % are -160, \d+ ",
        ),
        (
            lambda hu: np.where((hu > -100) & (hu < 120), 40, hu),
            r"\d+ % of the voxels have the one value 40 HU",
        ),
    ],
)
def test_scans_that_were_cleaned_or_clipped_are_told(chest, tmp_path, caplog, change, words):
    write_volume(Image(change(chest.array).astype(np.int16), chest.grid), tmp_path / "a.nii.gz")
    read_image(tmp_path / "a.nii.gz")
    import re

    assert re.search(rf"a\.nii\.gz: {words}", caplog.text)
    assert "cannot be trusted" in caplog.text


@pytest.mark.parametrize("unit", ["cm", "m", "mm", "um"])
def test_nrrd_says_its_unit(chest, tmp_path, unit):
    factor = {"cm": 0.1, "m": 0.001, "mm": 1.0, "um": 1000.0}[unit]
    write_nrrd(chest, tmp_path / "a.nrrd", factor, f'space units: "{unit}" "{unit}" "{unit}"\n')
    found = read_image(tmp_path / "a.nrrd")
    assert found.grid.matches(chest.grid, 0.01)
    np.testing.assert_array_equal(found.array, np.maximum(chest.array, -1024))


def test_units_that_are_no_lengths_are_refused(chest, tmp_path):
    for units in ('"inch" "inch" "inch"', '"mm" "mm" "cm"'):
        write_nrrd(chest, tmp_path / "a.nrrd", 1.0, f"space units: {units}\n")
        with pytest.raises(VolumeError, match=r"a\.nrrd: the space units are .*known are mm"):
            read_image(tmp_path / "a.nrrd")


def write_nrrd(scan, path, factor, line):
    matrix = scan.grid.matrix * factor
    directions = " ".join(f"({','.join(f'{v:.9g}' for v in matrix[:, n])})" for n in range(3))
    origin = ",".join(f"{v * factor:.9g}" for v in scan.grid.origin_xyz)
    sizes = " ".join(str(n) for n in scan.array.shape[::-1])
    head = f"NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n{line}"
    head += f"space directions: {directions}\nspace origin: ({origin})\nencoding: gzip\nendian: little\n\n"
    path.write_bytes(head.encode() + gzip.compress(scan.array.astype("<i2").tobytes()))
