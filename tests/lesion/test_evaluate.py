"""Folders of label maps against each other: hand-worked means, names, empty cases, and cases that cannot be scored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.cli.lesion import evaluate as evaluate_command
from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.lesion.evaluate import EvaluateOptions, evaluate_lesions
from medlsam.measure.detection import MATCHINGS
from medlsam.volume import LabelMap
from tests.support.command_line import call

GRID = Grid((6, 16, 16), (1.0, 1.0, 3.0), (-8.0, -8.0, 40.0))
TUMOR, CYST = 1, 2
#: Value, first x, voxels along x: a lesion in row y = 4 * its place in the list.
Lesions = list[tuple[int, int, int]]


def label_map(lesions: Lesions, grid: Grid = GRID) -> LabelMap:
    array = np.zeros(grid.shape_zyx, np.uint8)
    for place, (value, start, count) in enumerate(lesions):
        array[2, 4 * place, start : start + count] = value
    return LabelMap(array, grid)


def write(folder: Path, cases: Mapping[str, Lesions], names: Mapping[str, int] | None) -> Path:
    for case, lesions in cases.items():
        write_volume(label_map(lesions), folder / f"{case}.nii.gz")
    if names is not None:
        (folder / "labels.json").write_text(json.dumps(names))
    return folder


TRUE: dict[str, Lesions] = {
    "a": [(TUMOR, 0, 6), (TUMOR, 0, 6), (CYST, 0, 4)],
    "b": [(TUMOR, 0, 6)],
    "c": [(CYST, 0, 8)],
    "d": [],
}
PREDICTED: dict[str, Lesions] = {
    "a": [(TUMOR, 2, 6), (0, 0, 0), (CYST, 0, 4)],  # tumours: IoU 4/8, and one missed; the cyst as it is
    "b": [(TUMOR, 0, 6), (CYST, 0, 3)],  # the tumour as it is, a cyst that is not there
    "c": [(CYST, 4, 8)],  # IoU 4/12: missed and false
    "d": [],
}
NAMES = {"tumor": TUMOR, "cyst": CYST}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "predicted", PREDICTED, NAMES), write(tmp_path / "true", TRUE, NAMES)


def test_means_and_pooled_figures_are_those_worked_by_hand(folders: tuple[Path, Path]) -> None:
    seen: list[tuple[int, int, str]] = []
    found = evaluate_lesions(*folders, on_progress=lambda *at: seen.append(at))
    tumor, cyst = found["classes"]["tumor"], found["classes"]["cyst"]
    # Tumour: a: 1 of 2 found, F1 2/3, Dice 2 * 4 / (12 + 6); b: 1; c and d empty on both sides.
    assert tumor["f1"] == {"mean": 0.8333, "std": 0.2357, "n": 2}
    assert tumor["dice"] == {"mean": 0.7222, "std": 0.3928, "n": 2}
    assert (tumor["both_empty"], tumor["only_labels"], tumor["only_prediction"]) == (2, 0, 0)
    pooled = tumor["pooled"]
    assert (pooled["tp"], pooled["fp"], pooled["fn"], pooled["f1"]) == (2, 0, 1, 0.8)
    assert pooled["dice"] == round(2 * 10 / (18 + 12), 4)
    # Cyst: a: 1; b: only predicted, 0; c: IoU 4/12, F1 0, Dice 8/16; d: empty on both sides.
    assert cyst["f1"] == {"mean": 0.3333, "std": 0.5774, "n": 3}
    assert cyst["dice"] == {"mean": 0.5, "std": 0.5, "n": 3}
    assert (cyst["both_empty"], cyst["only_labels"], cyst["only_prediction"]) == (1, 0, 1)
    assert cyst["precision"] == {"mean": 0.3333, "std": 0.5774, "n": 3}
    assert cyst["recall"] == {"mean": 0.5, "std": 0.7071, "n": 2}
    assert (cyst["pooled"]["precision"], cyst["pooled"]["recall"]) == (0.3333, 0.5)
    assert found["mean"]["f1"] == {"mean": 0.5833, "std": 0.3536, "n": 2}
    assert found["per_case"]["d"]["tumor"] == {
        **dict.fromkeys(("dice", "f1", "precision", "recall")),
        **dict.fromkeys(("tp", "fp", "fn"), 0),
    }
    assert (found["missing"], found["failed"], found["warnings"], found["cases"]) == ([], {}, [], 4)
    assert seen == [(n, 4, case) for n, case in enumerate("abcd", start=1)]


def test_a_lower_threshold_finds_more_and_small_regions_are_left_out(folders: tuple[Path, Path]) -> None:
    loose = evaluate_lesions(*folders, EvaluateOptions(threshold=0.3))
    assert loose["classes"]["cyst"]["pooled"]["tp"] == 2
    large = evaluate_lesions(*folders, EvaluateOptions(smallest_voxels=5))
    cyst = large["classes"]["cyst"]
    assert (cyst["pooled"]["tp"], cyst["pooled"]["fp"], cyst["pooled"]["fn"]) == (0, 1, 1)
    assert cyst["dice"] == {"mean": 0.5, "std": 0.5, "n": 3}  # Dice has every voxel


def test_values_are_matched_by_name(tmp_path: Path) -> None:
    swapped = {case: [(3 - v if v else 0, s, n) for v, s, n in own] for case, own in PREDICTED.items()}
    predicted = write(tmp_path / "predicted", swapped, {"cyst": 1, "tumor": 2, "stone": 3})
    true = write(tmp_path / "true", TRUE, {**NAMES, "abscess": 7})
    found = evaluate_lesions(predicted, true)
    assert found["classes"]["tumor"]["pooled"]["tp"] == 2
    assert found["classes"]["abscess"]["both_empty"] == 4
    assert found["mean"]["dice"]["n"] == 2
    assert len(found["warnings"]) == 2
    assert "does not name it: stone" in found["warnings"][0]
    assert "never predicted" in found["warnings"][1]


@pytest.mark.parametrize("side", ["predicted", "true"])
def test_names_of_either_side_do(side: str, folders: tuple[Path, Path]) -> None:
    expected = evaluate_lesions(*folders)
    (folders[0].parent / side / "labels.json").unlink()
    assert evaluate_lesions(*folders) == expected


def test_a_dataset_beside_the_labels_names_them(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        (folder / "labels.json").unlink()
    with pytest.raises(UsageError, match=r"names of the values are needed: neither .*true nor .*predicted"):
        evaluate_lesions(*folders)
    (folders[1].parent / "dataset.json").write_text('{"labels": {"background": 0, "tumor": 1, "cyst": 2}}')
    assert list(evaluate_lesions(*folders)["classes"]) == ["tumor", "cyst"]


def test_missing_predictions_count_as_empty_and_are_named(folders: tuple[Path, Path]) -> None:
    predicted, true = folders
    (predicted / "b.nii.gz").rename(predicted / "z.nii.gz")
    found = evaluate_lesions(predicted, true)
    assert (found["missing"], found["not_scored"]) == (["b"], ["z"])
    assert found["per_case"]["b"]["tumor"]["dice"] == found["per_case"]["b"]["tumor"]["f1"] == 0
    assert found["classes"]["tumor"]["only_labels"] == 1
    for file in predicted.glob("[acd].nii.gz"):
        file.unlink()
    with pytest.raises(UsageError, match=r"no prediction of any of the 4 cases .* 'a'; here is 'z'"):
        evaluate_lesions(predicted, true)


def spoil_grid(file: Path) -> None:
    write_volume(label_map([(TUMOR, 0, 6)], replace(GRID, spacing_xyz=(1.0, 1.0, 2.5))), file)


def spoil_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def spoil_value(file: Path) -> None:
    write_volume(label_map([(9, 0, 6)]), file)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            spoil_grid,
            "GeometryError: .*predicted/b.nii.gz does not lie on the grid of .*true/b.nii.gz.*spacing",
        ),
        (spoil_file, "VolumeError: .*b.nii.gz"),
        (spoil_value, r"VolumeError: .*b.nii.gz: value 9 has no name \(known: 1 tumor, 2 cyst\)"),
    ],
)
def test_a_case_that_cannot_be_scored_is_named_and_the_others_go_on(
    spoil: Any, told: str, folders: tuple[Path, Path]
) -> None:
    spoil(folders[0] / "b.nii.gz")
    result = call(*words(folders), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert list(found["failed"]) == ["b"]
    assert re.search(told, found["failed"]["b"])
    assert found["classes"]["tumor"]["dice"]["n"] == 1
    assert list(found["per_case"]) == ["a", "c", "d"]
    assert "failed: b:" in " ".join(result.stderr.split())


def test_the_same_grid_stored_another_way_round_is_the_same(folders: tuple[Path, Path]) -> None:
    expected = evaluate_lesions(*folders)
    for case in PREDICTED:
        labels = label_map(PREDICTED[case])
        first = tuple(float(v) for v in GRID.ijk_to_lps((0, 15, 0)))
        turned = replace(GRID, origin_xyz=first, direction=(1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))  # type: ignore[arg-type]
        write_volume(LabelMap(labels.array[:, ::-1].copy(), turned), folders[0] / f"{case}.nii.gz")
    assert evaluate_lesions(*folders) == expected


def test_what_segment_wrote_is_read(folders: tuple[Path, Path]) -> None:
    predicted, true = folders
    expected = evaluate_lesions(predicted, true)
    for file in predicted.glob("*.nii.gz"):
        (predicted / file.name[0]).mkdir()
        file.rename(predicted / file.name[0] / "segmentation.nii.gz")
    (predicted / "labels.json").write_text('{"1": "tumor", "2": "cyst"}')
    (predicted / "previews").mkdir()
    assert evaluate_lesions(predicted, true) == expected


def test_wrong_calls(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, told in (
        ((folders[0], tmp_path / "none"), "there is no such folder of label maps"),
        ((tmp_path / "empty", folders[1]), "no label map in it"),
    ):
        with pytest.raises(UsageError, match=told):
            evaluate_lesions(*given)
    write_volume(label_map([]), folders[1] / "a.nrrd")
    with pytest.raises(
        UsageError, match=r"a.nii.gz and a.nrrd are one case|a.nrrd and a.nii.gz are one case"
    ):
        evaluate_lesions(*folders)
    (folders[1] / "a.nrrd").unlink()
    # The dataset beside them names classes, which would fit the first lesions of a case.
    lesions = write(tmp_path / "instancesTr", TRUE, NAMES)
    with pytest.raises(UsageError, match=r"instancesTr: holds a value for each lesion.* labelsTr"):
        evaluate_lesions(folders[0], lesions)
    (folders[1] / "labels.json").write_text('{"tumor": 1, "cyst": 2, "ignore": 3}')
    with pytest.raises(UsageError, match=r"true/labels.json: 'ignore' marks voxels"):
        evaluate_lesions(*folders)
    (folders[1] / "labels.json").write_text('{"mass": 1, "stone": 2}')
    with pytest.raises(UsageError, match="no name in common: cyst, tumor against mass, stone"):
        evaluate_lesions(*folders)


def words(folders: tuple[Path, Path]) -> list[str]:
    return ["lesion", "evaluate", "--predictions", str(folders[0]), "--labels", str(folders[1])]


def test_the_command_prints_both_tables(folders: tuple[Path, Path]) -> None:
    (folders[0] / "c.nii.gz").unlink()
    result = call(*words(folders))
    text = " ".join(result.stdout.split())
    assert "mean over 4 cases" in text
    assert "0.833 ±0.236" in text
    assert "pooled" in text
    assert "1 without a prediction, counted as predicted empty: c" in " ".join(result.stderr.split())
    document = json.loads(call(*words(folders), "--json", "--quiet").stdout)
    assert document["threshold"] == 0.5
    assert set(document["classes"]) == {"tumor", "cyst"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--threshold", "0"], "threshold must be above 0 and at most 1"),
        (["--matching", "best"], "matching: 'best' is unknown"),
        (["--smallest", "0"], "at least 1 voxel"),
    ],
)
def test_the_command_refuses_wrong_options(more: list[str], told: str, folders: tuple[Path, Path]) -> None:
    result = call(*words(folders), *more)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_the_command_knows_every_way_of_matching() -> None:
    assert evaluate_command._MATCHINGS == MATCHINGS
