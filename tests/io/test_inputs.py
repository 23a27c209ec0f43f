"""What a path means: scans, templates, hand-drawn points, lists of cases; and the atomic files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medlsam.errors import TemplateError, UsageError, VolumeError
from medlsam.geometry import Box, Grid
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_case_list, read_label_names
from medlsam.io.labelled_scans import find_templates, read_template_labels
from medlsam.io.slicer_markups import read_markups
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import atomic_path, write_json
from medlsam.volume import LabelMap


def touch(*paths, content=b""):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def dicom(*paths):
    touch(*paths, content=bytes(128) + b"DICM")


def names(path):
    return [case.name for case in find_cases(path)]


# Scans


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


def test_dicom_folders_at_any_depth(tmp_path):
    dicom(
        tmp_path / "one" / "IM0001", tmp_path / "patient" / "study" / "two" / "0.dcm", tmp_path / "DICOMDIR"
    )
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


# Templates


@pytest.fixture
def nnunet(tmp_path):
    touch(*(tmp_path / "imagesTr" / f"{n}_0000.nii.gz" for n in "ab"))
    touch(*(tmp_path / "labelsTr" / f"{n}.nii.gz" for n in "ab"))
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "liver": 1, "spleen": 3}})
    return tmp_path


def test_nnunet_templates(nnunet):
    cases, organs = find_templates(nnunet)
    assert organs == {1: "liver", 3: "spleen"}
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].image == nnunet / "imagesTr" / "a_0000.nii.gz"
    assert cases[0].labels == nnunet / "labelsTr" / "a.nii.gz"
    assert cases[0].points is None


def test_nnunet_templates_that_are_not_whole_are_refused(nnunet):
    (nnunet / "labelsTr" / "b.nii.gz").unlink()
    with pytest.raises(TemplateError, match=r"b_0000\.nii\.gz: no label map b\.\*"):
        find_templates(nnunet)
    (nnunet / "labelsTr" / "a.nii.gz").unlink()
    (nnunet / "labelsTr").rmdir()
    with pytest.raises(TemplateError, match="no folder labelsTr"):
        find_templates(nnunet)
    with pytest.raises(TemplateError, match="no such templates folder"):
        find_templates(nnunet / "none")


def test_pairs_with_one_labels_json(tmp_path):
    touch(
        *(tmp_path / c / f for c in "ab" for f in ("image.nrrd", "labels.nii.gz")),
        tmp_path / "c" / "image.mha",
    )
    write_json(tmp_path / "labels.json", {"liver": 1, "left kidney": 300})
    cases, organs = find_templates(tmp_path)
    assert organs == {1: "liver", 300: "left kidney"}
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[1].labels == tmp_path / "b" / "labels.nii.gz"


def test_pairs_that_are_not_whole_are_refused(tmp_path):
    with pytest.raises(TemplateError, match="no templates in this folder"):
        find_templates(tmp_path)
    touch(tmp_path / "a" / "labels.nii.gz")
    with pytest.raises(TemplateError, match=r"a: labels, but no image\.\*"):
        find_templates(tmp_path)
    touch(tmp_path / "a" / "image.nii.gz")
    with pytest.raises(TemplateError, match=r"no labels\.json"):
        find_templates(tmp_path)
    touch(tmp_path / "labels.json", content=b"{")
    with pytest.raises(TemplateError, match=r"labels\.json: cannot be read as JSON"):
        find_templates(tmp_path)
    write_json(tmp_path / "labels.json", {"liver": 1})
    touch(tmp_path / "a" / "image.nrrd")
    with pytest.raises(TemplateError, match="keep one"):
        find_templates(tmp_path)


def case_folder(folder, values, table=None):
    grid = Grid((4, 4, 4))
    array = np.zeros(grid.shape_zyx, np.uint8)
    array[0, 0, : len(values)] = values
    write_volume(LabelMap(array, grid), folder / "labels.nii.gz")
    touch(folder / "image.nii.gz")
    if table is not None:
        write_json(folder / "labels.json", table)


def test_a_labels_json_in_each_case_folder(tmp_path):
    case_folder(tmp_path / "a", [1, 2], {"liver": 1, "spleen": 2})
    case_folder(tmp_path / "b", [1, 7], {"liver": 1, "aorta": 7})
    cases, organs = find_templates(tmp_path)
    assert organs == {1: "liver", 2: "spleen", 7: "aorta"}
    assert list(read_template_labels(cases[1], organs).array[0, 0]) == [1, 7, 0, 0]

    # Numbered otherwise: organs are counted by name, and the maps brought to those values.
    case_folder(tmp_path / "c", [1, 2], {"spleen": 1, "liver": 2})
    cases, organs = find_templates(tmp_path)
    assert organs == {1: "aorta", 2: "liver", 3: "spleen"}
    found = [
        [organs.get(int(v)) for v in read_template_labels(case, organs).array[0, 0, :2]] for case in cases
    ]
    assert found == [["liver", "spleen"], ["liver", "aorta"], ["spleen", "liver"]]


def test_label_maps_that_are_empty_or_unnamed_are_refused(tmp_path):
    case_folder(tmp_path / "a", [1, 5], {"liver": 1})
    cases, organs = find_templates(tmp_path)
    with pytest.raises(TemplateError, match=r"a/labels\.nii\.gz: value 5 has no name"):
        read_template_labels(cases[0], organs)
    case_folder(tmp_path / "a", [], {"liver": 1})
    with pytest.raises(VolumeError, match="empty"):
        read_template_labels(cases[0], organs)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"liver": 1, "spleen": 2}, {1: "liver", 2: "spleen"}),
        ({"1": "liver", "2": "spleen"}, {1: "liver", 2: "spleen"}),
        ({"labels": {"0": "background", "1": "liver"}}, {1: "liver"}),
        ({"labels": {"background": 0, "liver": 4}}, {4: "liver"}),
    ],
)
def test_label_names_either_way(tmp_path, table, expected):
    write_json(tmp_path / "labels.json", table)
    assert read_label_names(tmp_path / "labels.json") == expected


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"liver": 1, "spleen": 1}, "spleen or value 1 is there twice"),
        ({"1": "liver", "2": "liver"}, "liver or value 2 is there twice"),
        ({"liver": [1, 2]}, "regions of several values"),
        ({"liver": -1}, '"liver": -1'),
        ({"liver": True}, '"liver": true'),
        ({"liver": 70000}, "has value 70000"),
        ({"background": 0}, "no organ"),
        ([1, 2], "got list"),
    ],
)
def test_wrong_label_tables_are_refused(tmp_path, table, words):
    write_json(tmp_path / "labels.json", table)
    with pytest.raises(TemplateError, match=words):
        read_label_names(tmp_path / "labels.json")


# Points

POINTS = [[5, 5, 9], [1, 4, 4], [9, 4, 5], [5, 0, 5], [4, 8, 5], [5, 5, -3]]


def markups(path, *nodes):
    write_json(path, {"markups": list(nodes)})
    return path


def node(points, system="LPS", label="Mandible-{}", **more):
    controls = [{"label": label.format(n + 1), "position": p} for n, p in enumerate(points)]
    return {"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls, **more}


def test_markups_in_any_order_and_both_systems(tmp_path):
    ras = [[-x, -y, z] for x, y, z in POINTS]
    path = markups(tmp_path / "p.mrk.json", node(POINTS), node(ras, "RAS", name="left parotid"))
    found = read_markups(path)
    assert set(found) == {"Mandible", "left parotid"}
    for points in found.values():
        assert points.box == Box((1, 0, -3), (9, 8, 9))
    np.testing.assert_array_equal(found["Mandible"].array[0], [1, 4, 4])
    np.testing.assert_array_equal(found["Mandible"].array[5], [5, 5, 9])


def test_markups_of_several_organs_in_one_node(tmp_path):
    both = node(POINTS)
    both["controlPoints"] += node([[x + 50, y, z] for x, y, z in POINTS], label="Vertebra L1 {}")[
        "controlPoints"
    ]
    found = read_markups(markups(tmp_path / "p.mrk.json", both))
    assert found["Vertebra L1"].box.min[0] == found["Mandible"].box.min[0] + 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a 3D Slicer markups file"),
        ('{"fiducials": []}', "not a 3D Slicer markups file"),
        ('{"markups": []}', "no points"),
        (json.dumps({"markups": [node(POINTS[:5])]}), "Mandible has 5 points; six"),
        (json.dumps({"markups": [node(POINTS, "IJK")]}), "'IJK' is neither LPS nor RAS"),
        (json.dumps({"markups": [node([[x, y, 0] for x, y, _ in POINTS])]}), "lie in one plane"),
        (json.dumps({"markups": [node([[1, 2]] * 6)]}), "not a 3D Slicer markups file"),
    ],
)
def test_wrong_markups_are_refused(tmp_path, content, words):
    (tmp_path / "p.mrk.json").write_text(content)
    with pytest.raises(TemplateError, match=words):
        read_markups(tmp_path / "p.mrk.json")


def test_templates_from_points(tmp_path):
    touch(tmp_path / "a" / "image.nii.gz")
    markups(tmp_path / "a" / "extreme_points.mrk.json", node(POINTS))
    cases, organs = find_templates(tmp_path)
    assert organs == {1: "Mandible"}
    assert cases[0].points == tmp_path / "a" / "extreme_points.mrk.json"
    assert cases[0].labels is None
    write_json(tmp_path / "labels.json", {"liver": 1})
    with pytest.raises(TemplateError, match=r"Mandible is not in labels\.json"):
        find_templates(tmp_path)
    write_json(tmp_path / "labels.json", {"Mandible": 7})
    assert find_templates(tmp_path)[1] == {7: "Mandible"}


# Lists of cases and files


def test_case_lists(tmp_path):
    write_json(tmp_path / "list.json", ["a", "b"])
    write_json(tmp_path / "splits.json", {"val": ["c"], "train": 3})
    assert read_case_list(tmp_path / "list.json") == ["a", "b"]
    assert read_case_list(f"{tmp_path / 'splits.json'}:val") == ["c"]
    for spec, words in (
        ("none.json", "no such case list"),
        ("none.json:val", "no such case list"),
        ("splits.json", "splits.json:key, keys: val, train"),
        ("splits.json:test", "no key 'test'; keys: val, train"),
        ("splits.json:train", "expected a list"),
        ("list.json:val", "no key 'val'"),
    ):
        with pytest.raises(UsageError, match=words):
            read_case_list(f"{tmp_path / spec}")


def test_atomic_files_are_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "a.json"
    write_json(target, {"name": "Müller", "x": 1.5})
    assert json.loads(target.read_text(encoding="utf-8")) == {"name": "Müller", "x": 1.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, float("nan"))

    def stop():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            assert temporary.parent == target.parent
            assert temporary.suffix == ".json"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert json.loads(target.read_text(encoding="utf-8"))["x"] == 1.5
    assert [f.name for f in target.parent.iterdir()] == ["a.json"]


@pytest.mark.realdata
def test_real_folders(real_ct):
    assert len(find_cases(real_ct / "openkbp" / "imagesTr")) == 203
    assert len(find_cases(real_ct / "body")) == 14
    assert names(real_ct / "dicom") == ["ts_example"]
    cases, organs = find_templates(real_ct / "openkbp" / "templates")
    assert len(cases) == 5
    assert organs[7] == "Mandible"
    assert len(read_case_list(f"{real_ct / 'openkbp' / 'splits.json'}:val")) == 40
    cases, organs = find_templates(real_ct / "body")
    assert len(cases) == 10
    lungs = read_template_labels(next(case for case in cases if case.name == "lidc_0001"), organs)
    assert {organs[int(v)] for v in np.unique(lungs.array) if v} == {"lung_left", "lung_right"}
