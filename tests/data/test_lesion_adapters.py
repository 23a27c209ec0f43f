"""What is special of the lesion data sets: single lesions beside the classes, windows, key slices, and wrong copies."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from medlsam.data import prepare
from medlsam.data.adapters import deeplesion
from medlsam.data.files import SourceFiles
from medlsam.data.lesion_table import instance_rows, write_lesion_table
from medlsam.errors import DatasetError, UsageError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_windows_mapping
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume.canonical import to_canonical
from medlsam.volume.volume import Image, LabelMap
from tests.support.data.lesion_sources import (
    ABDOMEN,
    CHEST,
    LESION_SAMPLES,
    SERIES,
    SPACING,
    write_png,
)
from tests.support.data.public_sources import GRID, MakeCt


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "lesions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


# --- HCUCH


@pytest.fixture
def hcuch(tmp_path: Path, make_ct: MakeCt) -> Path:
    LESION_SAMPLES["hcuch"](tmp_path / "copy", make_ct)
    return tmp_path / "copy"


def test_single_lesions_stay_beside_the_classes(hcuch: Path, tmp_path: Path) -> None:
    folder = prepare("hcuch", tmp_path / "out", hcuch).folder
    rows = table(folder)
    assert [(row["case"], row["lesion"], row["type"], row["site"]) for row in rows] == [
        (ABDOMEN, "1", "metastasis", "liver"),
        (ABDOMEN, "2", "metastasis", "liver"),  # touches the first: one region in the labels
        (ABDOMEN, "4", "lymph_node", "aortocaval"),
        (CHEST, "1", "primary_tumor", "lung"),
        (CHEST, "2", "metastasis", "lung"),
        (CHEST, "300", "metastasis", "liver"),
    ]
    kept = read_label_map(folder / "instancesTr" / f"{ABDOMEN}.nii.gz")
    source = read_label_map(hcuch / "images" / "abdomen" / "train" / "masks" / f"{ABDOMEN}.nii.gz")
    np.testing.assert_array_equal(kept.array, source.array)
    # A block of 4 x 5 x 3 voxels of 2 x 2 x 3 mm.
    first = rows[0]
    assert (first["voxels"], float(first["volume_ml"])) == ("60", pytest.approx(60 * 12 / 1000))
    center = GRID.ijk_to_lps((3, 6, 1.5))
    assert [float(first[f"center_{axis}_mm"]) for axis in "xyz"] == pytest.approx(center, abs=1e-3)
    # It lies obliquely, so its extent is more than that of its axes.
    assert float(first["max_x_mm"]) - float(first["min_x_mm"]) > 3 * 2.0


def test_the_window_of_each_scan_is_kept(hcuch: Path, tmp_path: Path) -> None:
    folder = prepare("hcuch", tmp_path / "out", hcuch).folder
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    assert (cases[CHEST]["window"], cases[CHEST]["window_hu"]) == ("lung", [-1200, 200])
    assert (cases[ABDOMEN]["window"], cases[ABDOMEN]["region"], cases[ABDOMEN]["patient"]) == (
        "abdomen",
        "abdomen",
        1,
    )


def test_names_with_dots_are_cases_for_all_others(hcuch: Path, tmp_path: Path) -> None:
    folder = prepare("hcuch", tmp_path / "out", hcuch).folder
    assert [case.name for case in find_cases(folder / "imagesTr")] == [ABDOMEN, CHEST]


def test_tumours_of_one_site_leave_the_other_scans_and_lesions_out(hcuch: Path, tmp_path: Path) -> None:
    result = prepare("hcuch-lung", tmp_path / "out", hcuch)
    assert (result.done, result.left_out) == ((CHEST,), {ABDOMEN: "without a tumour of the lung"})
    assert [row["lesion"] for row in table(result.folder)] == ["1", "2"]
    assert np.unique(read_label_map(result.folder / "instancesTr" / f"{CHEST}.nii.gz").array).tolist() == [
        0,
        1,
        2,
    ]


def test_a_second_run_makes_instances_that_are_gone(hcuch: Path, tmp_path: Path) -> None:
    folder = prepare("hcuch", tmp_path / "out", hcuch).folder
    (folder / "instancesTr" / f"{CHEST}.nii.gz").unlink()
    again = prepare("hcuch", tmp_path / "out", hcuch)
    assert (again.done, again.skipped) == ((CHEST,), (ABDOMEN,))


@pytest.mark.parametrize(
    ("value", "label", "told"),
    [
        ("2", "liver", "found 'liver'"),
        ("2", "x,liver", "found 'x,liver'"),
        ("2", "m,", "found 'm,'"),
        ("2", "m", "found 'm'"),
        ("0", "m,liver", "'0' is no value of a lesion"),  # all background would be a metastasis
        ("-1", "m,liver", "'-1' is no value of a lesion"),
        ("70000", "m,liver", "'70000' is no value of a lesion"),
    ],
)
@pytest.mark.parametrize("source", ["hcuch", "hcuch-liver"])
def test_a_label_that_is_none_fails_its_case(
    source: str, value: str, label: str, told: str, hcuch: Path, tmp_path: Path
) -> None:
    file = hcuch / "images" / "abdomen" / "train" / "labels" / f"{ABDOMEN}.json"
    file.write_text(json.dumps({"1": "m,liver", value: label, "4": "n,iliac"}))
    result = prepare(source, tmp_path / "out", hcuch)
    assert (list(result.failed), result.done, result.exit_code) == ([ABDOMEN], (CHEST,), 1)
    assert re.search(rf"{ABDOMEN}.json: expected .*{told}", result.failed[ABDOMEN])
    file.write_text(json.dumps({"1": "m,liver", "2": "m,liver", "4": "n,iliac"}))
    again = prepare(source, tmp_path / "out", hcuch)
    assert (again.done, again.skipped) == ((ABDOMEN,), (CHEST,))


def test_the_letters_of_folders_and_unpacked_scans_do_not_matter(hcuch: Path, tmp_path: Path) -> None:
    expected = prepare("hcuch", tmp_path / "out", hcuch).folder
    other = tmp_path / "x" / "Final-formatted"
    for file in sorted(hcuch.rglob("*.*")):
        if file.is_file():
            place = other / file.relative_to(hcuch).parent.as_posix().title() / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.name == f"{CHEST}.nii.gz":
                place.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
            else:
                shutil.copy(file, place)
    folder = prepare("hcuch", tmp_path / "other", tmp_path / "x").folder
    for name in ("lesions.csv", "cases.json", "splits.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()


def test_a_lesion_without_a_label_fails_its_case(hcuch: Path, tmp_path: Path) -> None:
    file = hcuch / "images" / "abdomen" / "train" / "labels" / f"{ABDOMEN}.json"
    file.write_text('{"1": "m,liver", "4": "n,iliac"}')
    result = prepare("hcuch", tmp_path / "out", hcuch)
    assert f"{ABDOMEN}.nii.gz: value 2 is not in" in result.failed[ABDOMEN]
    assert result.done == (CHEST,)
    file.unlink()
    assert prepare("hcuch", tmp_path / "other", hcuch).left_out == {ABDOMEN: "without its mask or its labels"}


def test_windows_mapping(tmp_path: Path) -> None:
    file = tmp_path / "windows_mapping.json"
    file.write_text('{"001_1.2.nii.gz": "mediastinum", "b.nii": "lung"}')
    found = read_windows_mapping(file)
    assert {case: (window.level, window.width) for case, window in found.items()} == {
        "001_1.2": (50, 350),
        "b": (-500, 1400),
    }
    # Its bone is narrower than ours, and it has windows that we have not.
    file.write_text('{"a.nii.gz": "bone", "b.nii.gz": "air", "c.nii.gz": "liver"}')
    assert [(window.level, window.width) for window in read_windows_mapping(file).values()] == [
        (400, 1000),
        (-426, 1000),
        (60, 160),
    ]
    for content, told in (
        ('{"a.nii.gz": "lugn"}', r"windows_mapping.json: a.nii.gz: no window .*'lugn' \(did you mean 'lung'"),
        ("[1]", "got list"),
        ("{", "cannot be read as JSON"),
    ):
        file.write_text(content)
        with pytest.raises(UsageError, match=told):
            read_windows_mapping(file)


# --- DeepLesion and 3DLAND


def test_key_slices_lie_where_the_scan_has_them(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["deeplesion"](tmp_path / "copy", make_ct)
    result = prepare("deeplesion", tmp_path / "out", tmp_path / "copy")
    assert result.left_out == {
        "000001_01_01_014-014": "a single slice, no scan",
        f"{SERIES}_130-131": "no lesion of DL_info.csv on its slices",
    }
    rows = table(result.folder)
    assert [(row["case"], row["lesion"], row["type"], row["noisy"], row["row"]) for row in rows] == [
        (f"{SERIES}_103-112", "1", "liver", "0", "1"),
        (f"{SERIES}_114-121", "1", "kidney", "1", "2"),
        (f"{SERIES}_114-121", "2", "", "0", "3"),
    ]
    first = {key: float(value) for key, value in rows[0].items() if key.endswith("_mm")}
    # The box 4, 5, 10, 12 at 0.8 mm, counted from 1; the long diameter from 4, 6 to 10, 11; slice 108 of 5 mm.
    assert (first["min_x_mm"], first["max_y_mm"], first["key_z_mm"]) == (2.4, 8.8, -540.0)
    assert (first["long_1_x_mm"], first["long_2_y_mm"], first["short_2_y_mm"]) == (2.4, 8.0, 4.8)
    assert {row["patient"] for row in rows} == {"2"}
    # That is the voxel of the picture: column 3, row 4, and slice 108 is the fifth from above of 103 to 112.
    grid = Grid((10, 20, 24), SPACING, (0.0, 0.0, -112 * 5.0))
    assert grid.lps_to_ijk([2.4, 3.2, -540.0]).tolist() == pytest.approx([3, 4, 4])


def test_pictures_of_eight_bits_are_no_ct(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["deeplesion"](tmp_path / "copy", make_ct)
    write_png(tmp_path / "copy" / "Images_png" / SERIES / "105.png", np.zeros((20, 24), np.uint8))
    result = prepare("deeplesion", tmp_path / "out", tmp_path / "copy")
    assert "105.png: uint8 of (20, 24) pixels; 16 bits" in result.failed[f"{SERIES}_103-112"]
    (tmp_path / "copy" / "Images_png" / SERIES / "105.png").write_bytes(b"no picture")
    result = prepare("deeplesion", tmp_path / "out", tmp_path / "copy")
    assert "105.png: cannot be read as PNG" in result.failed[f"{SERIES}_103-112"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"4, 5, 10, 12"', '"4, 5, 10"', r"row 3: Bounding_boxes: 4 numbers are needed, found '4, 5, 10'"),
        (
            '108.png,4,"4, 5, 10, 12",0,2,',
            '108.png,4,"4, 5, 10, 12",0,4,',
            "row 3: Train_Val_Test: 1, 2 or 3",
        ),
        ('108.png,4,"4, 5, 10, 12",0,2,', '108.png,4,"4, 5, 10, 12",0,,', "row 3: Train_Val_Test is empty"),
        (
            '0,2,"4, 6, 10, 11, 5, 10, 8, 7","0.8, 0.8, 5.0"',
            '0,2,"4, 6","0.8, 0.8, 0"',
            "row 3: Spacing_mm_px_: no",
        ),
    ],
)
@pytest.mark.parametrize("source", ["deeplesion", "3dland"])
def test_a_row_that_is_wrong_fails_its_run(
    source: str, old: str, new: str, told: str, tmp_path: Path, make_ct: MakeCt
) -> None:
    LESION_SAMPLES[source](tmp_path / "copy", make_ct)
    info = tmp_path / "copy" / "DL_info.csv"
    whole = info.read_text()
    assert old in whole
    info.write_text(whole.replace(old, new, 1) + "who knows\n")
    result = prepare(source, tmp_path / "out", tmp_path / "copy")
    assert list(result.failed) == [f"{SERIES}_103-112", "a row without series, 1"]
    assert re.search(f"DL_info.csv: {told}", result.failed[f"{SERIES}_103-112"])
    assert "row 6: File_name: 'who knows' is not" in result.failed["a row without series, 1"]
    assert result.done == (f"{SERIES}_114-121",)
    info.write_text(whole)
    assert prepare(source, tmp_path / "out", tmp_path / "copy").done == (f"{SERIES}_103-112",)


def test_rows_of_3dland_that_are_wrong_fail_their_runs(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["3dland"](tmp_path / "copy", make_ct)
    info = tmp_path / "copy" / "3DLAND_Info.csv"
    whole = info.read_text()
    info.write_text(whole.replace("108,1,liver", "108,,liver") + "cut off\n")
    result = prepare("3dland", tmp_path / "out", tmp_path / "copy")
    assert list(result.failed) == [f"{SERIES}_103-112", "a row without place, 1"]
    assert "3DLAND_Info.csv: row 2: invalid literal" in result.failed[f"{SERIES}_103-112"]
    assert result.done == (f"{SERIES}_114-121",)
    info.write_text(whole.replace("matched_organs", "organ"))
    with pytest.raises(DatasetError, match=r"3DLAND_Info.csv: column matched_organs is missing"):
        prepare("3dland", tmp_path / "out", tmp_path / "copy")


@pytest.mark.parametrize("column", ["Spacing_mm_px_", "Train_Val_Test"])
def test_a_table_without_a_column_is_refused(column: str, tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["deeplesion"](tmp_path / "copy", make_ct)
    info = tmp_path / "copy" / "DL_info.csv"
    info.write_text(info.read_text().replace(column, "x"))
    with pytest.raises(DatasetError, match=rf"DL_info.csv: column {column} is missing"):
        prepare("deeplesion", tmp_path / "out", tmp_path / "copy")
    info.unlink()
    with SourceFiles(tmp_path / "copy") as files, pytest.raises(DatasetError, match="DL_info.csv is missing"):
        deeplesion.find(files)


def test_masks_of_key_slices_are_no_labels_and_go_to_their_lesions(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["3dland"](tmp_path / "copy", make_ct)
    folder = prepare("3dland", tmp_path / "out", tmp_path / "copy").folder
    assert json.loads((folder / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "kidney_left lesion": 1,
        "kidney_right lesion": 2,
        "liver lesion": 3,
    }
    name = f"{SERIES}_114-121"
    assert (folder / "imagesTs" / f"{name}_0000.nii.gz").is_file()
    instances = read_label_map(folder / "instancesTs" / f"{name}.nii.gz").array
    # Slice 117 of 114 to 121 is the fifth from below; the left box is the first row's.
    assert np.unique(np.nonzero(instances)[0]).tolist() == [4]
    assert (instances[4, 4:8, 3:7] == 1).all()
    assert (instances[4, 4:8, 16:19] == 2).all()
    assert np.count_nonzero(instances) == 16 + 12
    sites = {(row["case"], row["lesion"]): row["site"] for row in table(folder)}
    # The published table names both boxes with each organ; the row of DL_info.csv tells them apart.
    assert (sites[name, "1"], sites[name, "2"]) == ("kidney_right", "kidney_left_prox")


def test_a_mask_of_one_run_is_read_and_one_of_another_size_is_named(tmp_path: Path, make_ct: MakeCt) -> None:
    copy = tmp_path / "copy"
    expected = LESION_SAMPLES["3dland"](copy, make_ct)[f"{SERIES}_103-112"].masks["liver lesion"]
    file = copy / "3D_masks" / f"{SERIES}_108.nii.gz"
    write_volume(LabelMap(expected.astype(np.uint8), Grid(expected.shape, SPACING)), file)
    folder = prepare("3dland", tmp_path / "out", copy).folder
    found = read_label_map(folder / "labelsTr" / f"{SERIES}_103-112.nii.gz").array
    np.testing.assert_array_equal(found == 3, expected)
    # A mask of the whole series: slice 117 is the fifth from below of 114 to 121, those of 130 and 131 lie below.
    whole = np.zeros((20, 20, 24), np.uint8)
    whole[2 + 3 : 2 + 6, 4:8, 3:7], whole[2 + 4, 4:8, 16:19] = 1, 1
    write_volume(LabelMap(whole, Grid(whole.shape, SPACING)), file.with_name(f"{SERIES}_117.nii.gz"))
    folder = prepare("3dland", tmp_path / "whole", copy).folder
    found = read_label_map(folder / "labelsTr" / f"{SERIES}_114-121.nii.gz").array
    np.testing.assert_array_equal(found != 0, whole[2:10] != 0)
    assert (found[4, 4:8, 3:7] == 2).all()
    assert (found[4, 4:8, 16:19] == 1).all()
    write_volume(LabelMap(np.ones((5, 20, 24), np.uint8), Grid((5, 20, 24), SPACING)), file)
    result = prepare("3dland", tmp_path / "other", copy)
    assert "(5, 20, 24) voxels" in result.failed[f"{SERIES}_103-112"]
    assert "its series 20 slices" in result.failed[f"{SERIES}_103-112"]
    (copy / "3DLAND_Info.csv").unlink()
    with pytest.raises(DatasetError, match="3DLAND_Info.csv is missing"):
        prepare("3dland", tmp_path / "third", copy)


# --- the others


def test_mswal_without_names_is_refused(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["mswal"](tmp_path / "copy", make_ct)
    (tmp_path / "copy" / "dataset.json").unlink()
    with pytest.raises(DatasetError, match=r"names of the values are needed.*gallstone, kidney stone"):
        prepare("mswal", tmp_path / "out", tmp_path / "copy")


def test_the_outermost_table_of_mswal_counts(tmp_path: Path, make_ct: MakeCt) -> None:
    LESION_SAMPLES["mswal"](tmp_path / "copy" / "MSWAL" / "data", make_ct)
    inner = tmp_path / "copy" / "MSWAL" / "data" / "a_training" / "fold_0"
    inner.mkdir(parents=True)
    (inner / "dataset.json").write_text('{"labels": {"background": 0, "x": 1}}')
    result = prepare("mswal", tmp_path / "out", tmp_path / "copy")
    assert result.exit_code == 0
    assert "gallstone" in json.loads((result.folder / "dataset.json").read_text())["labels"]


@pytest.mark.parametrize(("name", "scan"), [("kits", "imaging.nii.gz"), ("lits", "volume-28.nii")])
def test_a_copy_that_is_not_whole_gives_what_it_has(
    name: str, scan: str, tmp_path: Path, make_ct: MakeCt
) -> None:
    sample = LESION_SAMPLES[name](tmp_path / "copy", make_ct)
    missing = sorted((tmp_path / "copy").rglob(scan))[-1 if name == "lits" else 0]
    kept = missing.read_bytes()
    missing.unlink()
    result = prepare(name, tmp_path / "out", tmp_path / "copy")
    (case,) = result.failed
    assert "a label map without its scan" in result.failed[case]
    assert {case, *result.done} == set(sample)
    missing.write_bytes(kept)
    again = prepare(name, tmp_path / "out", tmp_path / "copy")
    assert (again.done, again.exit_code) == ((case,), 0)
    for file in (tmp_path / "copy").rglob(scan.replace("28", "*")):
        file.unlink()
    for file in (tmp_path / "copy").rglob("test-*"):
        file.unlink()
    with pytest.raises(DatasetError, match="a label map without its scan, and 1 more such; no scan is here"):
        prepare(name, tmp_path / "third", tmp_path / "copy")


def test_axes_of_kits_keep_their_places(tmp_path: Path) -> None:
    """The first axis of its files runs from head to feet, the last to the left."""
    grid = Grid((24, 20, 12), (3.0, 0.8, 0.9), (-30.0, -40.0, 500.0), (0, 0, 1, 0, 1, 0, -1, 0, 0))
    values = np.random.default_rng(0).normal(20, 80, grid.shape_zyx).astype(np.int16)
    values[:2] = -1000
    mask = np.zeros(grid.shape_zyx, np.uint8)
    mask[5:9, 4:8, 2:4], mask[7, 5:7, 3] = 1, 2
    write_volume(Image(values, grid), tmp_path / "copy" / "case_00000" / "imaging.nii.gz")
    write_volume(LabelMap(mask, grid), tmp_path / "copy" / "case_00000" / "segmentation.nii.gz")
    folder = prepare("kits", tmp_path / "out", tmp_path / "copy").folder
    image = to_canonical(read_image(folder / "imagesTr" / "kits_00000_0000.nii.gz"))
    labels = to_canonical(read_label_map(folder / "labelsTr" / "kits_00000.nii.gz"))
    tumor = np.argwhere(labels.array == 2)[:, ::-1]
    # Stored at x 7, y 5 and 6, slice index 3: 3 slices of 3 mm below the first.
    places = image.grid.ijk_to_lps(tumor)
    assert sorted(map(tuple, np.round(places, 3).tolist())) == [
        (-30 + 7 * 0.9, -40 + 5 * 0.8, 491.0),
        (-30 + 7 * 0.9, -40 + 6 * 0.8, 491.0),
    ]
    z, y, x = np.argwhere(labels.array == 2)[0]
    assert image.array[z, y, x] == values[7, 5, 3]


def test_a_lesion_that_nobody_describes_is_named() -> None:
    array = np.zeros((2, 3, 4), np.uint8)
    array[0, 0, 0] = 5
    with pytest.raises(VolumeError, match=r"value 5 is a lesion without a label \(known: 1, 2\)"):
        instance_rows(LabelMap(array, Grid(array.shape)), {1: {}, 2: {}})


def test_columns_that_a_row_lacks_stay_empty(tmp_path: Path) -> None:
    write_lesion_table(
        tmp_path / "lesions.csv", {"a": [{"lesion": 1, "type": "x"}], "b": [{"lesion": 1, "site": "y"}]}
    )
    assert (tmp_path / "lesions.csv").read_text() == "case,lesion,type,site\na,1,x,\nb,1,,y\n"
