"""NIfTI headers that say it twice, or not at all: one rule, a word where they disagree, and both written again."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import Image, LabelMap

FORMS = ("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d")
ORIGINS = ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z")


@pytest.fixture
def ct(make_ct):
    return make_ct(Grid((10, 12, 14), (1.5, 2.0, 2.5), (-20.0, 10.0, 30.0)))


@pytest.fixture
def save(ct, tmp_path):
    """``save(sform, qform, codes, **fields)`` writes the scan with its header's transforms (RAS) set freely."""

    def write(sform=None, qform=None, codes=(1, 1), name="a.nii", **fields):
        plain = np.eye(4)
        plain[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.column_stack([ct.grid.matrix, ct.grid.origin_xyz])
        image = nibabel.Nifti1Image(ct.array.transpose(2, 1, 0), plain)
        image.header.set_xyzt_units("mm")
        image.set_qform(plain if qform is None else qform(plain), codes[1])
        image.set_sform(plain if sform is None else sform(plain), codes[0])
        for field, value in fields.items():
            image.header[field] = value
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return write


def shifted(affine):
    moved = affine.copy()
    moved[:3, 3] += 30, -20, 15
    return moved


def sheared(affine):
    moved = affine.copy()
    moved[1, 2] += 0.6
    return moved


def turned(affine):
    angle = np.deg2rad(8)
    about = np.eye(4)
    about[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return about @ affine


def lps(affine, ijk):
    return (np.diag([-1, -1, 1, 1]) @ affine @ [*ijk, 1])[:3]


@pytest.mark.parametrize("change", [shifted, turned])
@pytest.mark.parametrize("sform_is_changed", [True, False])
def test_the_sform_counts_and_the_distance_is_told(save, caplog, change, sform_is_changed):
    path = save(**{"sform" if sform_is_changed else "qform": change})
    scan = read_image(path)
    for ijk in ((0, 0, 0), (13, 11, 9), (3, 0, 7)):
        # nibabel's own rule is the sform.
        np.testing.assert_allclose(scan.grid.ijk_to_lps(ijk), lps(nibabel.load(path).affine, ijk), atol=1e-3)
    assert "sform and qform place the scan's corners up to" in caplog.text
    if change is shifted:
        assert "up to 30.0 mm apart; the sform is used" in caplog.text


def test_transforms_that_agree_need_no_word(save, caplog):
    read_image(save())
    assert not caplog.text


def test_a_sheared_sform_gives_way_to_a_sound_qform_and_is_refused_alone(save, ct, caplog):
    assert read_image(save(sform=sheared)).grid.matches(ct.grid, 1e-3)
    assert "its sform cannot be used: its axes are not at right angles" in caplog.text
    with pytest.raises(VolumeError, match="its sform cannot be used.*resample the scan"):
        read_image(save(sform=sheared, codes=(1, 0)))


def test_a_spacing_that_is_not_the_transforms_is_told(save, ct, caplog):
    scan = read_image(save(codes=(1, 0), pixdim=[1, 1, 1, 1, 1, 1, 1, 1]))
    assert scan.grid.matches(ct.grid, 1e-3)
    assert (
        "the transform's voxels are 1.5 x 2 x 2.5 mm, the spacing in the header (pixdim) is 1 x 1 x 1 mm"
        in caplog.text
    )


@pytest.mark.parametrize(("units", "factor"), [(1, 0.001), (3, 1000.0), (0, 1.0)])
def test_units(save, ct, units, factor):
    def scaled(affine):
        return np.diag([factor] * 3 + [1]) @ affine

    path = save(sform=scaled, qform=scaled, xyzt_units=units)
    assert read_image(path).grid.matches(ct.grid, 1e-2)


def test_a_negative_spacing_in_the_header_does_not_count(save, ct):
    path = save()
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(-1.5).tobytes()
    path.write_bytes(raw)
    assert read_image(path).grid.matches(ct.grid, 1e-3)


@pytest.mark.parametrize(
    "forms",
    [
        {"sform": shifted, "codes": (2, 1)},
        {"sform": sheared, "codes": (3, 1)},
        {"qform": turned, "codes": (4, 2)},
        {"codes": (0, 1)},
        {"codes": (1, 0)},
        {"codes": (0, 0)},
    ],
)
def test_label_maps_are_written_with_the_scans_own_header(save, ct, tmp_path, forms):
    path = save(**forms)
    scan = read_image(path)
    labels = LabelMap((scan.array > 0).astype(np.uint8), scan.grid, scan.source)
    write_volume(labels, tmp_path / "labels.nii.gz")
    before, after = nibabel.load(path), nibabel.load(tmp_path / "labels.nii.gz")
    for field in (*FORMS, *ORIGINS):
        np.testing.assert_array_equal(after.header[field], before.header[field], err_msg=field)
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(before.dataobj) > 0)
    again = read_label_map(tmp_path / "labels.nii.gz")
    assert again.grid.matches(scan.grid, 1e-3)
    np.testing.assert_array_equal(again.array, labels.array)


def test_a_volume_on_another_grid_gets_a_header_of_its_own(save, tmp_path):
    scan = read_image(save(sform=shifted))
    other = scan.derived(scan.array[:5], Grid((5, 12, 14), (1.5, 2.0, 2.5), (-20.0, 10.0, 30.0)))
    write_volume(other, tmp_path / "part.nii.gz")
    assert read_image(tmp_path / "part.nii.gz").grid.matches(other.grid, 1e-3)


def test_names_of_labels_travel_in_the_header(ct, tmp_path):
    names = {1: "liver", 2: "kidney <left> & right", 300: "Niere 左"}
    labels = LabelMap(np.where(ct.array > 0, 300, 0), ct.grid)
    write_volume(labels, tmp_path / "a.nii.gz", names=names)
    image = nibabel.load(tmp_path / "a.nii.gz")
    (extension,) = image.header.extensions
    from xml.etree import ElementTree

    table = ElementTree.fromstring(extension.get_content())
    found = {int(label.get("Key")): label.text for label in table.iter("Label")}
    assert found == names
    assert {float(label.get("Alpha")) for label in table.iter("Label")} == {1.0}
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.nii.gz").array, labels.array)
    assert read_label_map(tmp_path / "a.nii.gz").grid.matches(ct.grid, 1e-3)


def test_a_header_is_that_of_the_grid_whatever_the_direction(ct, tmp_path):
    direction = (0.0, 0.8, 0.6, -1.0, 0.0, 0.0, 0.0, -0.6, 0.8)
    scan = Image(ct.array, Grid(ct.grid.shape_zyx, (1.5, 2.0, 2.5), (3.0, 4.0, -5.0), direction))
    write_volume(scan, tmp_path / "a.nii")
    image = nibabel.load(tmp_path / "a.nii")
    for form in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(lps(form, (3, 4, 5)), scan.grid.ijk_to_lps((3, 4, 5)), atol=1e-4)


@given(st.floats(-500, 500), st.floats(-500, 500), st.integers(1, 60))
def test_any_plain_header_is_read_as_nibabel_reads_it(x, y, degrees):
    from pathlib import Path

    from medlsam.io.nifti import nifti_grid, parse_nifti

    angle = np.deg2rad(degrees)
    affine = np.diag([-1.2, 1.3, 2.5, 1.0])
    affine[:2, :2] = (
        np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ affine[:2, :2]
    )
    affine[:3, 3] = x, y, 7
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    grid = nifti_grid(Path("a"), parse_nifti(image.header.binaryblock, Path("a")))
    np.testing.assert_allclose(grid.ijk_to_lps((3, 4, 5)), lps(image.affine, (3, 4, 5)), atol=1e-2)


# How the file is packed


def test_what_a_file_is_shows_in_its_bytes_not_in_its_name(save, ct, tmp_path):
    plain = save().read_bytes()
    packed = gzip.compress(plain)
    for name, data in {
        "a.nii": packed,
        "b.nii.gz": plain,
        "c.nii.gz": packed,
        "d.nii.gz": packed + bytes(512),
    }.items():
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(read_image(tmp_path / name).array, ct.array)
    third = len(plain) // 3
    parts = [gzip.compress(plain[n : n + third]) for n in range(0, len(plain), third)]
    (tmp_path / "parts.nii.gz").write_bytes(b"".join(parts))
    np.testing.assert_array_equal(read_image(tmp_path / "parts.nii.gz").array, ct.array)


def test_files_packed_twice_or_with_more_behind_are_named(save, tmp_path):
    packed = gzip.compress(save().read_bytes())
    (tmp_path / "twice.nii.gz").write_bytes(gzip.compress(packed))
    with pytest.raises(VolumeError, match=r"twice\.nii\.gz: the file is gzipped twice; unpack it once"):
        read_image(tmp_path / "twice.nii.gz")
    (tmp_path / "more.nii.gz").write_bytes(packed + b"<!-- saved -->" * 10)
    with pytest.raises(VolumeError, match=r"more\.nii\.gz: other bytes follow the gzip stream"):
        read_image(tmp_path / "more.nii.gz")
