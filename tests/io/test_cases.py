"""Which scans a path means."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import TemplateError, UsageError
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_case_list
from medlsam.io.labelled_scans import find_templates, read_template_labels
from medlsam.runtime.atomic_files import write_json
from tests.support.data.dicom_files import write_ct


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
