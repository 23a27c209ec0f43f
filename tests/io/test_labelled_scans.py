"""Which templates a folder holds, and what their labels are called."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import TemplateError, VolumeError
from medlsam.geometry import Grid
from medlsam.io.labelled_scans import find_templates, read_template_labels
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import LabelMap


def touch(*paths, content=b""):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def nnunet(tmp_path):
    touch(*(tmp_path / "imagesTr" / f"{n}_0000.nii.gz" for n in "ab"))
    touch(*(tmp_path / "labelsTr" / f"{n}.nii.gz" for n in "ab"))
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "liver": 1, "spleen": 3}})
    return tmp_path


def test_nnunet_templates(nnunet):
    cases, structures = find_templates(nnunet)
    assert structures == {1: "liver", 3: "spleen"}
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
    cases, structures = find_templates(tmp_path)
    assert structures == {1: "liver", 300: "left kidney"}
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
    cases, structures = find_templates(tmp_path)
    assert structures == {1: "liver", 2: "spleen", 7: "aorta"}
    assert list(read_template_labels(cases[1], structures).array[0, 0]) == [1, 7, 0, 0]

    # Numbered otherwise: organs are counted by name, and the maps brought to those values.
    case_folder(tmp_path / "c", [1, 2], {"spleen": 1, "liver": 2})
    cases, structures = find_templates(tmp_path)
    assert structures == {1: "aorta", 2: "liver", 3: "spleen"}
    found = [
        [structures.get(int(v)) for v in read_template_labels(case, structures).array[0, 0, :2]]
        for case in cases
    ]
    assert found == [["liver", "spleen"], ["liver", "aorta"], ["spleen", "liver"]]


def test_label_maps_that_are_empty_or_unnamed_are_refused(tmp_path):
    case_folder(tmp_path / "a", [1, 5], {"liver": 1})
    cases, structures = find_templates(tmp_path)
    with pytest.raises(TemplateError, match=r"a/labels\.nii\.gz: value 5 has no name"):
        read_template_labels(cases[0], structures)
    case_folder(tmp_path / "a", [], {"liver": 1})
    with pytest.raises(VolumeError, match="empty"):
        read_template_labels(cases[0], structures)
