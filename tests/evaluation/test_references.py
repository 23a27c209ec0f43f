"""Reference labels: which structures of a case are scored, and where their names come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name

from medlsam.errors import UsageError
from medlsam.evaluation.references import find_references
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.volume import LabelMap
from tests.support.fakes.evaluated import SPACING, Dataset, StubModel, run


def test_cases_json_says_what_is_complete_and_what_is_absent(dataset: Dataset, tmp_path: Path) -> None:
    listed = {"a": {"complete": ["cube", "cut"], "absent": ["bar"]}}
    metrics = run(StubModel(), dataset(["a", "b"], cases_json=listed), tmp_path)
    structures = metrics["organs"]
    assert structures["cut"]["n"] == 1, (
        "complete in a, whatever slice it touches; cut off in b, which is not listed"
    )
    assert structures["cube"]["n"] == 2
    assert (structures["bar"]["n"], structures["bar"]["false_found"]) == (1, 1)


def test_each_case_may_number_its_structures_itself(tmp_path: Path) -> None:
    for case, table in (("a", {"bar": 2, "cube": 1}), ("b", {"cube": 7})):
        folder = tmp_path / case
        folder.mkdir()
        (folder / "labels.json").write_text(json.dumps(table))
        array = np.zeros((16, 24, 28), np.uint8)
        for place, value in enumerate(table.values()):
            array[4:8, 4:8, 4 + 6 * place : 8 + 6 * place] = value
        write_volume(LabelMap(array, Grid(array.shape, SPACING)), folder / "labels.nii.gz")
    references = find_references(tmp_path)
    assert references.names == {1: "bar", 2: "cube"}
    assert references.read("a").values == {"cube": 1, "bar": 2}
    assert references.read("b").values == {"cube": 7}
    assert references.read("b").mask("cube").all()
    (tmp_path / "a" / "labels.json").unlink()
    (tmp_path / "b" / "labels.json").unlink()
    with pytest.raises(UsageError, match=r"label names are needed.*no case in it has a labels\.json"):
        find_references(tmp_path)


@pytest.mark.parametrize("suffix", [".nhdr", ".nrrd", ".mha", ".mhd", ".nii"])
def test_labels_are_found_in_every_format_that_scans_are(tmp_path: Path, suffix: str) -> None:
    array = np.zeros((16, 24, 28), np.uint8)
    array[4:8, 4:8, 4:8] = 1
    sitk.WriteImage(sitk.GetImageFromArray(array), tmp_path / f"a{suffix}")
    (tmp_path / "labels.json").write_text(json.dumps({"cube": 1}))
    assert find_references(tmp_path).read("a").mask("cube").sum() == 64
