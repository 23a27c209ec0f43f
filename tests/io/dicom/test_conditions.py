"""What people's archives hold, read right or refused in words; each from a report about another tool."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.io.read import read_image
from medlsam.volume import to_canonical
from tests.support.data.dicom_series import (
    new_uids,
    pixels,
    save,
    set_pixels,
    slice_dataset,
    write_other,
    write_slices,
)

GRID = Grid((10, 28, 32), (1.5, 2.0, 2.5), (-20.0, 10.0, 300.0))


@pytest.fixture(scope="module")
def ct(make_ct):
    return make_ct(GRID)


def same(path, ct):
    """The scan of a path is this one."""
    found = read_image(path)
    assert found.grid.matches(ct.grid, 1e-3)
    np.testing.assert_array_equal(found.array, ct.array)
    assert found.source.grid_is_scanners
    return found


def refused(path, words):
    with pytest.raises(VolumeError, match=words) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


# Geometry


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        (None, r"IM0000\.dcm: the slice has no Pixel Spacing \(0028,0030\): absent"),
        ([], "has no Pixel Spacing .*: empty"),
        (["0", "1"], r"has no Pixel Spacing .*: 0\\1"),
        ("imager", r"Imager Pixel Spacing \(2\\1\.5\) is that of the detector"),
    ],
)
def test_slices_without_pixel_spacing(ct, tmp_path, spacing, words):
    def change(n, data):
        if spacing == "imager":
            data.ImagerPixelSpacing = data.PixelSpacing
        if spacing is None or spacing == "imager":
            del data.PixelSpacing
        else:
            data.PixelSpacing = spacing

    write_slices(ct, tmp_path, change)
    refused(tmp_path, words)


def test_one_slice_without_pixel_spacing(ct, tmp_path):
    write_slices(ct, tmp_path, lambda n, data: data.__delattr__("PixelSpacing") if n == 7 else None)
    refused(tmp_path, r"IM0007\.dcm: the slice has no Pixel Spacing")


def test_pixel_spacing_that_changes(ct, tmp_path):
    def change(n, data):
        if n >= 6:
            data.PixelSpacing = ["1.28", "0.96"]

    write_slices(ct, tmp_path, change)
    refused(
        tmp_path,
        r"changes within the series: 2 x 1\.5 mm in 6 slices from IM0000\.dcm, 1\.28 x 0\.96 mm in 4",
    )


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_slices_without_a_place(ct, tmp_path, tag):
    write_slices(ct, tmp_path, lambda n, data: data.__delattr__(tag))
    refused(tmp_path, r"IM0000\.dcm: the slice has no Image (Position|Orientation) \(Patient\) \(absent\)")


def test_directions_that_are_no_directions(ct, tmp_path):
    write_slices(ct, tmp_path, lambda n, data: setattr(data, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]))
    refused(tmp_path, "not two directions at right angles")


def test_pixel_spacing_is_taken_as_it_is(make_ct, tmp_path):
    ct = make_ct(Grid((5, 8, 9), (0.9765625, 0.9765625, 2.5)))

    def change(n, data):
        data.PixelSpacing = ["0.9765625", "0.9765625"]

    write_slices(ct, tmp_path, change)
    assert read_image(tmp_path).grid.spacing_xyz == (0.9765625, 0.9765625, 2.5)


def test_what_other_tags_say_of_the_step_does_not_count(ct, tmp_path):
    def change(n, data):
        data.SpacingBetweenSlices, data.SliceThickness = "-3", "5"
        data.SliceLocation = "7"
        data.InstanceNumber = 999 - n

    write_slices(ct, tmp_path, change)
    same(tmp_path, ct)


@pytest.mark.parametrize(
    "direction",
    [
        (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0),  # prone
        (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0),  # feet first
        (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),  # decubitus
        (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0),  # sagittal
        (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0),  # coronal
    ],
)
def test_patients_lie_any_way_and_series_are_cut_any_way(make_ct, tmp_path, direction):
    ct = make_ct(Grid((9, 12, 14), (3.0, 4.0, 5.0), (7.0, -30.0, 40.0), direction))
    write_slices(ct, tmp_path)
    found = to_canonical(read_image(tmp_path))
    wanted = to_canonical(ct)
    assert found.grid.matches(wanted.grid, 1e-3)
    np.testing.assert_array_equal(found.array, wanted.array)


# Files


def test_objects_beside_the_slices_are_named_and_left_out(ct, tmp_path, caplog):
    uids = new_uids()
    write_slices(ct, tmp_path, uids=uids)
    for modality, sop_class in {
        "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
        "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
        "SR": "1.2.840.10008.5.1.4.1.1.88.67",
        "PR": "1.2.840.10008.5.1.4.1.1.11.1",
        "KO": "1.2.840.10008.5.1.4.1.1.88.59",
        "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
    }.items():
        write_other(tmp_path / f"{modality}.dcm", uids, modality, sop_class)
        assert not caplog.text
    (tmp_path / "Thumbs.db").write_bytes(bytes(300))
    (tmp_path / "readme.txt").write_text("x")
    same(tmp_path, ct)
    for modality in ("RTSTRUCT", "RTDOSE", "SR", "PR", "KO", "DOC"):
        assert f"{modality}.dcm" in caplog.text


@pytest.mark.parametrize("own_series", [True, False])
def test_a_scout_beside_the_slices(ct, make_ct, tmp_path, caplog, own_series):
    uids = new_uids()
    write_slices(ct, tmp_path, uids=uids)
    scout = slice_dataset(make_ct(Grid((2, 50, 40), (1.0, 1.0, 5.0))), 0, uids)
    scout.ImageType, scout.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [0, 1, 0, 0, 0, -1]
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    if own_series:
        scout.SeriesInstanceUID = generate_uid()
    save(scout, tmp_path / "scout.dcm")
    same(tmp_path, ct)
    assert "1 x localizer image (scout.dcm)" in caplog.text


def test_a_picture_of_the_dose_in_the_series(ct, tmp_path, caplog):
    uids = new_uids()
    write_slices(ct, tmp_path, uids=uids)
    picture = slice_dataset(ct, 0, uids)
    picture.SOPClassUID = picture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(picture, tag)
    picture.SamplesPerPixel, picture.PhotometricInterpretation, picture.PlanarConfiguration = 3, "RGB", 0
    picture.BitsAllocated = picture.BitsStored = 8
    picture.HighBit = 7
    picture.PixelData = bytes(28 * 32 * 3)
    save(picture, tmp_path / "dose.dcm")
    same(tmp_path, ct)
    assert "secondary capture" in caplog.text


def test_copies_of_slices_are_left_out_and_other_pixels_at_their_place_are_refused(ct, tmp_path, caplog):
    files = write_slices(ct, tmp_path)
    (tmp_path / "IM0003 (1).dcm").write_bytes(files[3].read_bytes())
    again = pydicom.dcmread(files[5])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    save(again, tmp_path / "again.dcm")
    same(tmp_path, ct)
    assert "1 copies of slices left out" in caplog.text
    assert "1 slices are there twice, voxel by voxel" in caplog.text
    set_pixels(again, pixels(again) + 1)
    save(again, tmp_path / "again.dcm")
    refused(tmp_path, "1 slices lie at the place of another")
    # The number of a slice says nothing where its pixels are others.
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = pydicom.dcmread(
        files[5]
    ).SOPInstanceUID
    save(again, tmp_path / "again.dcm")
    refused(tmp_path, "1 slices lie at the place of another")


def test_one_number_for_all_slices_makes_no_copies(ct, tmp_path):
    def change(n, data):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    write_slices(ct, tmp_path, change)
    same(tmp_path, ct)


@pytest.mark.parametrize("missing", [0, 1])
def test_missing_slices(ct, tmp_path, missing):
    write_slices(ct, tmp_path, lambda n, data: n not in (4, 4 + missing))
    refused(tmp_path, rf"usually 2\.5 mm, {2.5 * (2 + missing):g} mm after slice 4 of {9 - missing}")


def test_a_cut_off_slice_is_named(ct, tmp_path):
    files = write_slices(ct, tmp_path)
    files[2].write_bytes(files[2].read_bytes()[:-200])
    refused(tmp_path, r"IM0002\.dcm: the pixels are truncated or damaged")
    files[2].write_bytes(files[2].read_bytes()[:300])
    refused(tmp_path, "1 DICOM files are truncated or damaged, the first is IM0002.dcm")


def test_a_series_without_modality_is_read_with_a_warning(ct, tmp_path, caplog):
    write_slices(ct, tmp_path, lambda n, data: data.__delattr__("Modality"))
    assert same(tmp_path, ct).source.modality == "CT"
    assert "do not say their modality" in caplog.text


def test_other_modalities_are_refused_by_name(ct, tmp_path):
    write_slices(ct, tmp_path, lambda n, data: setattr(data, "Modality", "MR"))
    refused(tmp_path, "no CT series in this folder, but image of modality MR")


def test_two_patients_in_one_folder_are_not_one_scan(ct, tmp_path):
    write_slices(ct, tmp_path, uids=new_uids(patient="A"), name="a{}.dcm")
    write_slices(ct, tmp_path, uids=new_uids(patient="B"), name="b{}.dcm")
    refused(tmp_path, "CT of 2 studies of 2 patients")


def test_one_series_in_two_folders(ct, tmp_path, caplog):
    uids = new_uids()
    write_slices(ct, tmp_path / "A", lambda n, data: n < 4, uids)
    write_slices(ct, tmp_path / "B", lambda n, data: n >= 4, uids)
    same(tmp_path, ct)
    assert "the series lies in 2 folders; read together" in caplog.text


# Pixels


def test_monochrome1_says_how_to_show_hu_not_what_they_are(ct, tmp_path):
    write_slices(ct, tmp_path, lambda n, data: setattr(data, "PhotometricInterpretation", "MONOCHROME1"))
    same(tmp_path, ct)


def test_overlays_in_the_bits_beside_the_pixels(ct, tmp_path):
    def change(n, data):
        stored = pixels(data)
        stored[5:9, 5:20] |= 0x8000
        data.BitsStored, data.HighBit = 12, 11
        set_pixels(data, stored)
        for element, kind, value in (
            *((0x10, "US", 28), (0x11, "US", 32), (0x40, "CS", "G")),
            *((0x50, "SS", [1, 1]), (0x100, "US", 16), (0x102, "US", 15)),
        ):
            data.add_new((0x6000, element), kind, value)

    write_slices(ct, tmp_path, change)
    same(tmp_path, ct)


def test_rescale_of_every_slice_is_its_own(ct, tmp_path):
    def change(n, data):
        if n % 3 == 1:
            data.RescaleIntercept = "-2047"
            set_pixels(data, ct.array[n].astype(int) + 2047)
        if n % 3 == 2:
            data.RescaleSlope = "0.5"
            set_pixels(data, (ct.array[n].astype(int) + 1024) * 2)

    write_slices(ct, tmp_path, change)
    same(tmp_path, ct)


@pytest.mark.parametrize("padding", [-2000, 0])
def test_padding_around_the_field_of_view_is_air(ct, tmp_path, padding):
    rows, columns = np.mgrid[:28, :32]
    outside = ((rows - 13.5) / 14) ** 2 + ((columns - 15.5) / 16) ** 2 > 1

    def change(n, data):
        data.PixelRepresentation, data.RescaleIntercept = 1, "0"
        data.PixelPaddingValue = padding
        set_pixels(data, np.where(outside, padding, ct.array[n]))

    write_slices(ct, tmp_path, change)
    found = read_image(tmp_path)
    np.testing.assert_array_equal(found.array, np.where(outside, -1024, ct.array))


@pytest.mark.parametrize(
    "syntax",
    [
        *(ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless),
        JPEGLSLossless,
    ],
)
def test_transfer_syntaxes(ct, tmp_path, syntax):
    def change(n, data):
        if syntax.is_compressed and not syntax.is_deflated:
            data.compress(syntax, generate_instance_uid=False)
        else:
            data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()

    for n, data in enumerate(
        slice_dataset(ct, n, uids) for uids in [new_uids()] for n in range(len(ct.array))
    ):
        change(n, data)
        tmp_path.mkdir(exist_ok=True)
        data.save_as(
            tmp_path / f"{n}",
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax.is_little_endian,
        )
    same(tmp_path, ct)


def test_a_compression_that_nothing_decodes_is_named_with_the_plugin(ct, tmp_path):
    files = write_slices(ct, tmp_path)
    for file in files:
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
        data.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        save(data, file)
    refused(tmp_path, r"High-Throughput JPEG 2000.*cannot be decoded here.*pylibjpeg")


def test_files_without_preamble(ct, tmp_path):
    for n, file in enumerate(write_slices(ct, tmp_path / "whole")):
        data = pydicom.dcmread(file)
        bare = pydicom.Dataset()
        bare.update(data)
        (tmp_path / "bare").mkdir(exist_ok=True)
        pydicom.dcmwrite(
            tmp_path / "bare" / str(n),
            bare,
            implicit_vr=n % 2 == 0,
            little_endian=True,
            enforce_file_format=False,
        )
    same(tmp_path / "bare", ct)


def test_private_fields_larger_than_the_head_that_is_read(ct, tmp_path):
    def change(n, data):
        data.private_block(0x09, "ACME", create=True).add_new(1, "OB", bytes(70000))

    write_slices(ct, tmp_path, change)
    same(tmp_path, ct)
