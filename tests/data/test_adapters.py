"""Every source, from a sample in its own layout to the dataset: geometry, values, names, splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medlsam.data import SOURCES, prepare
from medlsam.data.adapters import openkbp
from medlsam.data.files import SourceFiles
from medlsam.errors import DatasetError
from medlsam.evaluation.references import find_references
from medlsam.io.label_names import read_label_names
from medlsam.io.labelled_scans import find_templates
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume.volume import LabelMap
from tests.support.data.dicom_files import write_ct
from tests.support.data.lesion_sources import LESION_SAMPLES
from tests.support.data.public_sources import GRID, SAMPLES, MakeCt, zipped

ALL_SAMPLES = SAMPLES | LESION_SAMPLES


@pytest.mark.parametrize("packed", ["folder", "zip"])
@pytest.mark.parametrize("name", list(SOURCES))
def test_a_sample_becomes_a_dataset(name: str, packed: str, tmp_path: Path, make_ct: MakeCt) -> None:
    sample = ALL_SAMPLES[name](tmp_path / "copy", make_ct)
    copy = tmp_path / "copy"
    if packed == "zip":
        copy = zipped(copy, tmp_path / "copy.zip", "as-published-1.0/")
    result = prepare(name, tmp_path / "out", copy)
    assert (result.exit_code, result.failed, result.warnings) == (0, {}, ())
    assert sorted(result.done) == sorted(sample)
    folder = tmp_path / "out" / SOURCES[name].dataset
    assert result.folder == folder
    written = json.loads((folder / "dataset.json").read_text())
    labelled = {case for case, expected in sample.items() if expected.labelled}
    assert written["numTraining"] == len(labelled)
    assert written["channel_names"] == {"0": "CT"}
    assert written["file_ending"] == ".nii.gz"
    assert SOURCES[name].licence in written["licence"]
    assert list(written["labels"].values()) == list(range(len(written["labels"])))
    values = written["labels"]
    for case, expected in sample.items():
        place = "imagesTr" if expected.labelled else "imagesTs"
        image = read_image(folder / place / f"{case}_0000.nii.gz")
        assert image.grid.matches(expected.image.grid, 1e-3)
        np.testing.assert_array_equal(image.array, expected.image.array)
        assert (folder / "labelsTr" / f"{case}.nii.gz").exists() == expected.labelled
        if expected.labelled:
            labels = read_label_map(folder / "labelsTr" / f"{case}.nii.gz")
            assert labels.grid.matches(image.grid, 1e-4)
            assert {int(value) for value in np.unique(labels.array)} == {
                0,
                *(values[n] for n in expected.masks),
            }
            for structure, mask in expected.masks.items():
                np.testing.assert_array_equal(labels.array == values[structure], mask, structure)
    splits = json.loads((folder / "splits.json").read_text())
    assert {case: split for split, cases in splits.items() for case in cases} == {
        case: expected.split for case, expected in sample.items()
    }
    if labelled:
        cases = json.loads((folder / "cases.json").read_text())["cases"]
        assert set(cases) == labelled
        for case in labelled:
            cut = [structure for structure, mask in sample[case].masks.items() if mask[0].any()]
            assert cases[case].get("truncated", []) == cut
            assert sorted(cases[case]["complete"]) == sorted(set(sample[case].masks) - set(cut))


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in ("lidc", "deeplesion")])
def test_a_dataset_serves_as_templates_and_as_reference(name: str, tmp_path: Path, make_ct: MakeCt) -> None:
    sample = ALL_SAMPLES[name](tmp_path / "copy", make_ct)
    folder = prepare(name, tmp_path / "out", tmp_path / "copy").folder
    labelled = sorted(case for case, expected in sample.items() if expected.labelled)
    templates, names = find_templates(folder)
    assert [template.name for template in templates] == labelled
    assert names == read_label_names(folder / "dataset.json")


def test_masks_that_are_empty_are_absent_and_those_that_are_missing_are_not(
    tmp_path: Path, make_ct: MakeCt
) -> None:
    SAMPLES["totalsegmentator"](tmp_path / "copy", make_ct)
    folder = prepare("totalsegmentator", tmp_path / "out", tmp_path / "copy").folder
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    assert cases["s0000"]["absent"] == ["aorta"]
    assert "absent" not in cases["s0011"]  # its spleen has no file: nobody says whether it is there


def test_a_mask_that_lies_elsewhere_is_named(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["totalsegmentator"](tmp_path / "copy", make_ct)
    file = tmp_path / "copy" / "s0011" / "segmentations" / "liver.nii.gz"
    mask = read_label_map(file)
    write_volume(LabelMap(mask.array, replace(mask.grid, origin_xyz=(9.0, 2.0, 3.0))), file)
    result = prepare("totalsegmentator", tmp_path / "out", tmp_path / "copy")
    assert f"{file} does not lie on the grid of" in result.failed["s0011"]
    assert result.done == ("s0000",)


def test_scans_of_another_modality_are_left_out(tmp_path: Path, make_ct: MakeCt) -> None:
    for name, left in (
        ("amos", {"amos_0507": "MR, not CT"}),
        ("lidc", {"LIDC-IDRI-0001/study/x": "DX, not CT"}),
    ):
        SAMPLES[name](tmp_path / name, make_ct)
        assert prepare(name, tmp_path / "out", tmp_path / name).left_out == left


@pytest.mark.parametrize(("patient", "name"), [("", "series-7"), ("../a b", "a_b"), ("..", "series-7")])
def test_a_series_gets_a_name_that_a_file_can_have(
    patient: str, name: str, tmp_path: Path, make_ct: MakeCt
) -> None:
    write_ct(make_ct(GRID), tmp_path / "copy" / "series-7", t0010_0020=patient)
    result = prepare("lidc", tmp_path / "out", tmp_path / "copy")
    assert result.done == (name,)
    assert (result.folder / "imagesTs" / f"{name}_0000.nii.gz").is_file()


def test_a_folder_like_btcv_brings_its_own_names(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["btcv"](tmp_path / "copy", make_ct)
    (tmp_path / "copy" / "labels.json").write_text('{"lever": 2, "milt": 1, "nier": 4, "maag": 3}')
    folder = prepare("btcv", tmp_path / "out", tmp_path / "copy").folder
    assert read_label_names(folder / "dataset.json") == {1: "milt", 2: "lever", 3: "maag", 4: "nier"}
    (tmp_path / "copy" / "labels.json").write_text('{"lever": 20, "milt": 10}')
    result = prepare("btcv", tmp_path / "other", tmp_path / "copy")
    assert (
        "value 1, 2, 3, 4 is no structure of this source (known: 10 milt, 20 lever)"
        in result.failed["img0001"]
    )
    assert result.done == ("img0061",)


def test_openkbp_indices_are_where_the_patient_has_them(tmp_path: Path) -> None:
    """The first row of the left parotid of patient 243, and where it lies: slice 58 from below, row 57, column 79."""
    flat = np.zeros(128**3, bool)
    flat[944069] = True
    assert np.argwhere(openkbp._upright(flat)).tolist() == [[58, 57, 79]]


@pytest.mark.realdata
def test_openkbp_agrees_with_the_collection_that_was_converted_before(real_ct: Path) -> None:
    """First and last rows of the left parotid of patient 243 (tables of the source), in voxels of 3.906 x 2.5 mm."""
    labels = read_label_map(real_ct / "openkbp" / "labelsTr" / "openkbp_243.nii.gz")
    value = {v: k for k, v in read_label_names(real_ct / "openkbp" / "dataset.json").items()}["LeftParotid"]
    for index in (944069, 944194, 960451, 1009338, 1042101, 1091631, 1108541, 1108667):
        flat = np.zeros(128**3, bool)
        flat[index] = True
        ((z, y, x),) = np.argwhere(openkbp._upright(flat))
        i, j, k = np.rint(labels.grid.lps_to_ijk([x * 3.906, y * 3.906, z * 2.5])).astype(int)
        assert labels.array[k, j, i] == value


def test_references_read_the_cases(tmp_path: Path, make_ct: MakeCt) -> None:
    SAMPLES["word"](tmp_path / "copy", make_ct)
    folder = prepare("word", tmp_path / "out", tmp_path / "copy").folder
    found = find_references(folder / "labelsTr")
    assert found.names[1] == "liver"
    assert found.cases["word_0002"]["complete"] == ["spleen", "left_kidney", "right_kidney"]


def test_a_case_that_lies_there_twice_is_refused(tmp_path: Path, make_ct: MakeCt) -> None:
    for name in SOURCES:
        if name == "lidc":
            continue  # series are told apart by number
        for copy in ("a", "b"):
            ALL_SAMPLES[name](tmp_path / name / copy, make_ct)
        with SourceFiles(tmp_path / name) as files, pytest.raises(DatasetError, match="give one copy only"):
            SOURCES[name].find(files)
