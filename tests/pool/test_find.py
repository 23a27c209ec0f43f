"""What a mixed collection holds beside scans is left out by its header, each thing for its own reason."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.io.dicom.header import read_dicom_header
from medlsam.io.write import write_volume
from medlsam.pool.find import find_scans
from medlsam.pool.manifest import Reason
from medlsam.volume import Image
from tests.support.data.dicom_files import (
    CAPTURE,
    REPORT,
    STRUCTURES,
    write_ct,
    write_object,
)


@pytest.fixture(scope="module")
def ct(make_ct):
    return make_ct(Grid((12, 14, 16), (6.0, 6.0, 5.0), (-40.0, -30.0, 100.0)))


def reasons(found):
    return {entry.source: entry.reason for entry in found.left_out}


def test_what_lies_beside_a_series_is_named(ct, tmp_path):
    study = tmp_path / "raw" / "patient" / "study"
    files = write_ct(ct, study, "1")
    scout = Image(ct.array[:2], Grid((2, 14, 16), ct.grid.spacing_xyz))
    write_ct(scout, study, "2", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    write_ct(Image(ct.array[:1], Grid((1, 14, 16))), study, "4", t0008_0060="MR")
    write_object(study / "report.dcm", REPORT, "SR", "5")
    write_object(study / "structures", STRUCTURES, "RTSTRUCT", "6")
    write_object(study / "screen.dcm", CAPTURE, "CT", "8")
    (study / "cut.dcm").write_bytes(files[0].read_bytes()[:300])
    (study / "notes.txt").write_text("none")
    (study / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    found = find_scans([tmp_path / "raw"])
    (scan,) = found.candidates
    assert scan.source == "raw/patient/study#1.2.3.1"
    assert scan.case == "study"
    assert scan.files == tuple(files)  # in the order of their places, not of their names
    assert reasons(found) == {
        "raw/patient/study#1.2.3.2": Reason.LOCALIZER,
        "raw/patient/study#1.2.3.4": Reason.MODALITY,
        "raw/patient/study#1.2.3.5": Reason.REPORT,
        "raw/patient/study#1.2.3.6": Reason.NO_IMAGE,
        "raw/patient/study#1.2.3.8": Reason.SECONDARY_CAPTURE,
        "raw/patient/study/cut.dcm": Reason.UNREADABLE,
    }
    assert "2 x localizer image" in [entry.words for entry in found.left_out]
    assert found.others == 2


def test_a_localizer_with_the_number_of_its_series(ct, tmp_path):
    write_ct(ct, tmp_path / "a", "1")
    scout = Image(ct.array[:1], Grid((1, 14, 16), origin_xyz=(5.0, 5.0, 5.0)))
    write_ct(scout, tmp_path / "a", "1", part="9", t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER")
    found = find_scans([tmp_path])
    assert len(found.candidates) == 1
    assert len(found.candidates[0].files) == 12
    assert [entry.reason for entry in found.left_out] == [Reason.LOCALIZER]


def test_gaps_are_named_and_copies_of_a_slice_are_not(ct, tmp_path):
    files = write_ct(ct, tmp_path / "gap", "1")
    files[5].unlink()
    files = write_ct(ct, tmp_path / "copied", "2")
    (tmp_path / "copied" / "again.dcm").write_bytes(files[3].read_bytes())
    found = find_scans([tmp_path])
    assert [(c.case, len(c.files)) for c in found.candidates] == [("copied", 12)]
    (entry,) = found.left_out
    assert entry.reason is Reason.GAP
    assert entry.words == "usually 5 mm, 10 mm after slice 5 of 11"


def test_phases_in_one_series_are_told_apart_where_a_field_does(ct, tmp_path):
    for number in ("1", "2"):
        write_ct(ct, tmp_path / "two", part=number, t0020_0012=number)
        other = Image(ct.array + int(number), ct.grid)
        write_ct(other, tmp_path / "alike", part=number, t0020_0012="1")
    found = find_scans([tmp_path / "two", tmp_path / "alike"])
    assert [(c.source, len(c.files)) for c in found.candidates] == [
        ("two#1.2.3.1.1", 12),
        ("two#1.2.3.1.2", 12),
    ]
    assert len({c.study for c in found.candidates}) == 1
    (entry,) = found.left_out
    assert (entry.source, entry.reason) == ("alike", Reason.OVERLAP)
    assert entry.words == "12 of 24 slices lie at the place of another"


def test_slices_without_a_place(ct, tmp_path):
    for file in write_ct(ct, tmp_path):
        file.write_bytes(file.read_bytes().replace(b"\x20\0\x37\0", b"\x20\0\x38\0"))
    assert [entry.reason for entry in find_scans([tmp_path]).left_out] == [Reason.NO_POSITION]


def test_image_files_and_label_maps(ct, tmp_path):
    for name in (
        "imagesTr/a_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "b/image.nrrd",
        "b/labels.mha",
        "c_seg.nii",
        "d.mha",
    ):
        write_volume(ct, tmp_path / "raw" / name)
    (tmp_path / "raw" / ".hidden.nii.gz").write_bytes(b"")
    found = find_scans([tmp_path / "raw"])
    assert [c.source for c in found.candidates] == [
        "raw/b/image.nrrd",
        "raw/d.mha",
        "raw/imagesTr/a_0000.nii.gz",
    ]
    assert set(reasons(found).values()) == {Reason.LABELS}
    assert len(found.left_out) == 3


def test_a_folder_is_looked_into_once(ct, tmp_path):
    write_volume(ct, tmp_path / "raw" / "a" / "one.nii")
    (tmp_path / "raw" / "loop").symlink_to(tmp_path / "raw")
    found = find_scans([tmp_path / "raw", tmp_path / "raw" / "a", tmp_path / "raw" / "a" / "one.nii"])
    assert [c.source for c in found.candidates] == ["raw/a/one.nii"]
    assert find_scans([tmp_path], without=tmp_path / "raw").candidates == []
    with pytest.raises(UsageError, match="none: there is no such file"):
        find_scans([tmp_path / "none"])


def test_headers_in_every_encoding(ct, tmp_path):
    """What GDCM writes is explicit; implicit and deflated files are made of it here."""
    file = write_ct(Image(ct.array[:1], Grid((1, 14, 16))), tmp_path, "1", t0018_1210="B30f")[0]
    header = read_dicom_header(file)
    assert header is not None
    assert (header.modality, header.kernel, header.rows, header.columns) == ("CT", "B30f", "14", "16")
    np.testing.assert_allclose(header.numbers("position", 3), 0)
    assert header.numbers("orientation", 3) is None
    with pytest.raises(AttributeError):
        _ = header.patient
    write_object(tmp_path / "report", REPORT, "SR")
    plain = (tmp_path / "report").read_bytes()
    explicit = b"1.2.840.10008.1.2.1\0"
    start = plain.index(explicit) + len(explicit)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = plain[:start].replace(b"UI\x14\x00" + explicit, b"UI\x16\x001.2.840.10008.1.2.1.99")
    (tmp_path / "deflated").write_bytes(head + packer.compress(plain[start:]) + packer.flush())
    deflated = read_dicom_header(tmp_path / "deflated")
    assert deflated is not None
    assert deflated.fields | {"transfer_syntax": ""} == read_dicom_header(tmp_path / "report").fields | {
        "transfer_syntax": ""
    }
    assert deflated.series == "1.2.3.7"
