"""Which scans a path means."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import TemplateError, UsageError, VolumeError
from medlsam.io.cases import case_of, find_cases, read_case
from medlsam.io.folders import writable_name
from medlsam.io.label_names import read_case_list
from medlsam.io.labelled_scans import find_templates, read_template_labels
from medlsam.runtime.atomic_files import write_json
from tests.support.data.dicom_files import write_ct
from tests.support.data.dicom_series import new_uids, write_slices


def touch(*paths, content=b""):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names(path):
    return [case.name for case in find_cases(path)]


def test_a_single_scan_is_named_after_its_file(tmp_path):
    for name in (
        "a_0000.nii.gz",
        "b.nrrd",
        "c.mha",
        "d.MHD",
        "e.nii",
        "f.zip",
        "v1.2_0000.nii.gz",
        "g.nii.gz.zip",
    ):
        touch(tmp_path / name)
        (case,) = find_cases(tmp_path / name)
        expected = name.removesuffix(".zip").lower()
        for suffix in (".nii.gz", ".nrrd", ".mha", ".mhd", ".nii"):
            expected = expected.removesuffix(suffix)
        assert (case.name, case.path) == (expected.removesuffix("_0000"), tmp_path / name)


def test_a_folder_of_scans_is_sorted_and_leaves_out_the_rest(tmp_path):
    touch(
        *(
            tmp_path / n
            for n in ("b.nii.gz", "a_0000.nrrd", "c.mhd", "c.raw", "readme.txt", ".hidden.nii", "._b.nii")
        )
    )
    assert names(tmp_path) == ["a", "b", "c"]


def test_dicom_folders_at_any_depth(tmp_path, small_ct):
    write_ct(small_ct, tmp_path / "one", "1")[0].rename(tmp_path / "one" / "IM0001")
    write_ct(small_ct, tmp_path / "patient" / "study" / "two", "2")
    touch(tmp_path / "DICOMDIR", content=bytes(128) + b"DICM")
    touch(tmp_path / "one" / "notes.txt", tmp_path / "plain" / "notes.txt")
    assert names(tmp_path) == ["one", "two"]
    assert names(tmp_path / "one") == ["one"]
    assert find_cases(tmp_path / "one")[0].path == tmp_path / "one"
    assert names(tmp_path / "one" / "IM0001") == ["IM0001"]


def test_nnunet_folders_and_case_folders(tmp_path):
    touch(tmp_path / "imagesTr" / "x_0000.nii.gz", tmp_path / "labelsTr" / "x.nii.gz")
    write_json(
        tmp_path / "dataset.json", {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    )
    assert names(tmp_path) == names(tmp_path / "imagesTr") == ["x"]
    touch(
        *(tmp_path / "cases" / c / f for c in "ba" for f in ("image.nii.gz", "labels.nii.gz", "labels.json"))
    )
    assert names(tmp_path / "cases") == ["a", "b"]
    assert find_cases(tmp_path / "cases")[0].path == tmp_path / "cases" / "a" / "image.nii.gz"
    assert names(tmp_path / "cases" / "a") == ["a"]
    # A scan that happens to be called image does not hide those beside it.
    touch(tmp_path / "scans" / "image.nii.gz", tmp_path / "scans" / "other.nii.gz")
    assert names(tmp_path / "scans") == ["image", "other"]


def test_paths_that_hold_no_scan_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        find_cases(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no scan in this folder; known are \.nii\.gz"):
        find_cases(tmp_path)
    touch(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"a\.txt: not a scan"):
        find_cases(tmp_path / "a.txt")


def test_two_scans_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "a.nii.gz", tmp_path / "a_0000.nrrd")
    with pytest.raises(UsageError, match=r"2 scans are called 'a'.*a\.nii\.gz.*a_0000\.nrrd"):
        find_cases(tmp_path)


def test_several_channels_are_refused(tmp_path):
    touch(*(tmp_path / "imagesTr" / f"a_000{n}.nii.gz" for n in range(2)))
    touch(tmp_path / "labelsTr" / "a.nii.gz")
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "CT", "1": "PET"}, "labels": {"liver": 1}})
    with pytest.raises(UsageError, match="2 channels"):
        find_cases(tmp_path / "imagesTr")
    with pytest.raises(TemplateError, match="2 channels"):
        find_templates(tmp_path)


@pytest.mark.realdata
def test_real_folders(real_ct):
    assert len(find_cases(real_ct / "openkbp" / "imagesTr")) == 203
    assert len(find_cases(real_ct / "body")) == 14
    assert names(real_ct / "dicom") == ["ts_example"]
    cases, structures = find_templates(real_ct / "openkbp" / "templates")
    assert len(cases) == 5
    assert structures[7] == "Mandible"
    assert len(read_case_list(f"{real_ct / 'openkbp' / 'splits.json'}:val")) == 40
    cases, structures = find_templates(real_ct / "body")
    assert len(cases) == 10
    lungs = read_template_labels(next(case for case in cases if case.name == "lidc_0001"), structures)
    assert {structures[int(v)] for v in np.unique(lungs.array) if v} == {"lung_left", "lung_right"}


# What lies in archives


def test_patients_whose_series_lie_in_folders_of_one_name(tmp_path, small_ct):
    for patient in ("p1", "p2"):
        write_slices(small_ct, tmp_path / patient / "CT", uids=new_uids(patient=patient))
        touch(tmp_path / "images" / patient / "CT" / "scan.nii.gz")
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == ["images_p1_CT", "images_p2_CT", "p1_CT", "p2_CT"]
    assert [case.name for case in find_cases(tmp_path / "images")] == ["p1_CT", "p2_CT"]


def test_two_patients_and_two_studies_in_one_folder(tmp_path, small_ct):
    for n, patient in enumerate(("one", "two", "two")):
        write_slices(small_ct, tmp_path / "flat", uids=new_uids(patient=patient), name=f"{n}_{{}}.dcm")
    cases = find_cases(tmp_path / "flat")
    assert [case.name for case in cases] == ["flat_one", "flat_two_20200101_1", "flat_two_20200101_2"]
    assert {len(case.files) for case in cases} == {24}
    assert len({read_case(case).source.series_uid for case in cases}) == 3
    # The record of a run names one of them again.
    for case in cases:
        assert case_of(case.path, str(case.files[0])).files == case.files
    with pytest.raises(UsageError, match=r"none\.dcm is not there any more"):
        case_of(tmp_path / "flat", str(tmp_path / "flat" / "none.dcm"))


def test_of_several_series_of_a_study_in_one_folder_the_longest_is_taken(tmp_path, small_ct, caplog):
    uids = new_uids()
    write_slices(small_ct, tmp_path / "study", uids=uids, name="a{}.dcm")

    def short(n, data):
        data.SeriesNumber, data.SeriesDescription = 5, "lung"
        return n < 9

    write_slices(small_ct, tmp_path / "study", short, new_uids() | {"study": uids["study"]}, "b{}.dcm")
    (case,) = find_cases(tmp_path / "study")
    assert (case.name, len(case.files)) == ("study", 24)
    assert "another CT series of 9 slices (series 5, lung, b0.dcm)" in caplog.text


def test_a_damaged_file_fails_the_scan_beside_it_and_no_other(tmp_path, small_ct):
    files = write_slices(small_ct, tmp_path / "a")
    files[0].write_bytes(files[0].read_bytes()[:200])
    write_slices(small_ct, tmp_path / "b")
    first, second = find_cases(tmp_path)
    with pytest.raises(
        VolumeError, match="a: 1 DICOM files are truncated or damaged, the first is IM0000.dcm"
    ):
        read_case(first)
    assert read_case(second).grid.matches(small_ct.grid, 1e-3)


def test_a_dicomdir_means_its_folder(tmp_path, small_ct):
    write_slices(small_ct, tmp_path / "DICOM" / "PAT1")
    touch(tmp_path / "DICOMDIR", content=bytes(128) + b"DICM")
    assert names(tmp_path / "DICOMDIR") == ["PAT1"]


def test_case_folders_with_one_image_of_any_name(tmp_path, caplog):
    touch(tmp_path / "s1" / "ct.nii.gz", tmp_path / "s1" / "segmentations" / "liver.nii.gz")
    touch(tmp_path / "s2" / "scan.nrrd", tmp_path / "s2" / "scan_seg.nrrd", tmp_path / "top.nii")
    touch(tmp_path / "s3" / "a.nii.gz", tmp_path / "s3" / "b.nii.gz")
    assert [(case.name, case.path.name) for case in find_cases(tmp_path)] == [
        ("s1", "ct.nii.gz"),
        ("s2", "scan.nrrd"),
        ("top", "top.nii"),
    ]
    assert "s3: 2 image files (a.nii.gz, ...), of which none is called image or ct" in caplog.text


def test_what_is_no_scan_here_is_named(tmp_path, caplog):
    touch(
        *(tmp_path / name for name in ("a.nii.gz", "b.img", "b.hdr", "c.mgz", "d.npy", "e.rar", "notes.txt"))
    )
    (tmp_path / "f.nii.gz").symlink_to("/nowhere/annex/object")
    assert names(tmp_path) == ["a", "f"]
    for name in ("b.img", "c.mgz", "d.npy", "e.rar"):
        assert name in caplog.text
    assert "notes" not in caplog.text
    with pytest.raises(VolumeError, match=r"f\.nii\.gz: a link to .*object, which is not there"):
        read_case(find_cases(tmp_path)[1])


def test_links_in_a_circle(tmp_path):
    touch(tmp_path / "a.nii.gz", tmp_path / "sub" / "b.nii.gz")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.nii.gz").symlink_to(tmp_path / "self.nii.gz")
    assert names(tmp_path) == ["a", "self", "sub"]


def test_names_that_are_no_text_or_too_long(tmp_path):
    import os

    touch(tmp_path / ("n" * 240 + ".nii.gz"))
    with open(os.fsencode(tmp_path) + b"/M\xfcller.nii.gz", "wb"):
        pass
    found = names(tmp_path)
    assert found == ["Müller", "n" * 240]
    long = writable_name("x" * 300)
    assert len(long.encode()) <= 240
    assert long != writable_name("x" * 301)
    assert writable_name("a/b\\c\x00") == "a_b_c_"


def test_folders_of_macos_and_archives_are_passed_over(tmp_path, small_ct):
    write_slices(small_ct, tmp_path / "ct")
    touch(
        *(tmp_path / name for name in ("__MACOSX/ct/._IM0000.dcm", "._ct.nii.gz", ".DS_Store", "Thumbs.db"))
    )
    assert names(tmp_path) == ["ct"]
