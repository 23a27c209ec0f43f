"""The dataset for nnU-Net: its files, what becomes of names and values, and what a second run does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import UsageError
from medlsam.export.nnunet import write_nnunet
from medlsam.geometry import Grid
from medlsam.io.cases import find_cases
from medlsam.io.labelled_scans import find_templates
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import Image, LabelMap
from tests.support.fakes.stub_model import draw_ct

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
NAMES = {3: "plate", 1: "block", 300: "ignore"}


def scan(seed: int = 0) -> Image:
    return draw_ct(GRID, seed=seed)


def labels(shift: int = 0) -> LabelMap:
    array = np.zeros(GRID.shape_zyx, np.uint16)
    array[4:9, 6:12, 5 + shift : 11] = 1
    array[10:13, 5:20, 8:21] = 3
    array[14, 2:4, 2:4] = 300
    return LabelMap(array, GRID)


def write_run(output: Path, cases: dict[str, Path], names: dict[int, str] = NAMES, **failed: Path) -> None:
    """What ``segment`` leaves behind, as far as the dataset is made from it."""
    for case in cases:
        if not (output / case / "segmentation.nii.gz").is_file():
            write_volume(labels(), output / case / "segmentation.nii.gz")
    records = {case: {"status": "done", "image": str(image)} for case, image in cases.items()}
    records |= {case: {"status": "failed", "image": str(image)} for case, image in failed.items()}
    write_json(output / "run.json", {"cases": records})
    write_json(output / "labels.json", {str(value): name for value, name in names.items()})


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for number, name in enumerate("ab"):
        found[name] = tmp_path / "scans" / f"{name}_0000.nii.gz"
        write_volume(scan(number), found[name])
    return found


def files(dataset: Path) -> list[str]:
    return sorted(str(file.relative_to(dataset)) for file in dataset.rglob("*") if file.is_file())


def record(dataset: Path) -> Any:
    return json.loads((dataset / "medlsam.json").read_text())


def test_the_layout(tmp_path: Path, cases: dict[str, Path]) -> None:
    write_run(tmp_path / "out", cases, c=tmp_path / "broken.nii.gz")
    warnings = write_nnunet(tmp_path / "out")
    dataset = tmp_path / "out" / "nnUNet_raw" / "Dataset001_out"
    assert files(dataset) == [
        "dataset.json",
        "imagesTr/a_0000.nii.gz",
        "imagesTr/b_0000.nii.gz",
        "labelsTr/a.nii.gz",
        "labelsTr/b.nii.gz",
        "medlsam.json",
    ]
    assert json.loads((dataset / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "block": 1, "plate": 2, "ignore structure": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    assert warnings == [
        "nnUNet_raw: nnU-Net counts label values without gaps: plate 3 -> 2, ignore 300 -> 3",
        "nnUNet_raw: nnU-Net keeps these names for itself: ignore -> ignore structure",
    ]
    written = read_label_map(dataset / "labelsTr" / "a.nii.gz")
    assert written.grid.matches(GRID)
    for value, number in {1: 1, 3: 2, 300: 3}.items():
        np.testing.assert_array_equal(written.array == number, labels().array == value)
    assert record(dataset)["values_of_the_run"] == {"1": 1, "3": 2, "300": 3}
    # It is a templates folder, too.
    templates, names = find_templates(dataset)
    assert [case.name for case in templates] == ["a", "b"]
    assert names == {1: "block", 2: "plate", 3: "ignore structure"}
    assert [case.name for case in find_cases(dataset)] == ["a", "b"]


def test_images_are_links_where_nnunet_reads_the_same(tmp_path: Path, cases: dict[str, Path]) -> None:
    padded = np.array(scan().array)
    padded[:, -1] = -3024  # read as -1024
    cases["padded"] = tmp_path / "scans" / "padded_0000.nii.gz"
    write_volume(Image(padded, GRID), cases["padded"])
    cases["other"] = tmp_path / "scans" / "other.nrrd"
    write_volume(scan(), cases["other"])
    write_run(tmp_path / "out", cases)
    write_nnunet(tmp_path / "out")
    images = tmp_path / "out" / "nnUNet_raw" / "Dataset001_out" / "imagesTr"
    for name, source in cases.items():
        target = images / f"{name}_0000.nii.gz"
        assert target.samefile(source) == (name in "ab"), name
        own, label = (
            sitk.ReadImage(str(target)),
            sitk.ReadImage(str(images.parent / "labelsTr" / f"{name}.nii.gz")),
        )
        for get in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(own, get)(), getattr(label, get)(), err_msg=name)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(own), read_image(source).array)


def test_an_image_is_written_where_links_are_not_possible(
    tmp_path: Path, cases: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    write_run(tmp_path / "out", cases)
    assert len(write_nnunet(tmp_path / "out")) == 2
    target = tmp_path / "out" / "nnUNet_raw" / "Dataset001_out" / "imagesTr" / "a_0000.nii.gz"
    assert not target.samefile(cases["a"])
    np.testing.assert_array_equal(read_image(target).array, scan().array)


def times(dataset: Path) -> dict[str, int]:
    return {name: (dataset / name).stat().st_mtime_ns for name in files(dataset) if "Tr/" in name}


def test_a_second_run_updates_what_changed(tmp_path: Path, cases: dict[str, Path]) -> None:
    output, dataset = tmp_path / "out", tmp_path / "out" / "nnUNet_raw" / "Dataset001_out"
    write_run(output, cases)
    write_nnunet(output)
    before = times(dataset)
    write_nnunet(output)
    assert times(dataset) == before
    write_volume(labels(shift=2), output / "b" / "segmentation.nii.gz")
    write_nnunet(output)
    assert {name for name, time in times(dataset).items() if time != before[name]} == {"labelsTr/b.nii.gz"}
    np.testing.assert_array_equal(
        read_label_map(dataset / "labelsTr" / "b.nii.gz").array == 1, labels(2).array == 1
    )
    write_volume(scan(7), cases["a"])
    write_nnunet(output)
    assert (dataset / "imagesTr" / "a_0000.nii.gz").samefile(cases["a"])
    # Not done any more, and half of what a killed run left.
    (dataset / "labelsTr" / ".tmp-left.nii.gz").touch()
    write_run(output, {"a": cases["a"]}, b=cases["b"])
    write_nnunet(output)
    assert [name for name in files(dataset) if "Tr/" in name] == [
        "imagesTr/a_0000.nii.gz",
        "labelsTr/a.nii.gz",
    ]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 1


def test_the_dataset_is_found_where_the_folder_was_renamed(tmp_path: Path, cases: dict[str, Path]) -> None:
    write_run(tmp_path / "out", cases)
    write_nnunet(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "moved")
    write_nnunet(tmp_path / "moved")
    # Two datasets of one number are none for nnU-Net.
    assert [path.name for path in (tmp_path / "moved" / "nnUNet_raw").iterdir()] == ["Dataset001_out"]


def test_corrections_by_hand_stay(tmp_path: Path, cases: dict[str, Path]) -> None:
    output, dataset = tmp_path / "out", tmp_path / "out" / "nnUNet_raw" / "Dataset001_out"
    write_run(output, cases)
    write_nnunet(output)
    corrected = labels().array % 2
    write_volume(LabelMap(corrected, GRID), dataset / "labelsTr" / "a.nii.gz")
    for path in ("imagesTr/own_0000.nii.gz", "labelsTr/own.nii.gz"):  # a case of their own
        shutil.copy(dataset / path.replace("own", "b"), dataset / path)
    write_volume(labels(shift=2), output / "a" / "segmentation.nii.gz")
    assert "a: a.nii.gz was corrected by hand, so it is kept as it is" in write_nnunet(output)
    write_run(output, {"b": cases["b"]}, a=cases["a"])
    assert "a: not done any more, but its label map was corrected by hand: it stays" in write_nnunet(output)
    for _ in range(2):
        np.testing.assert_array_equal(read_label_map(dataset / "labelsTr" / "a.nii.gz").array, corrected)
        assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 3
        # Other structures: the corrections would mean something else.
        write_run(output, cases, {1: "plate", 3: "block"})
        before = times(dataset)
        with pytest.raises(UsageError, match="a were corrected by hand when the labels were"):
            write_nnunet(output)
        assert times(dataset) == before
        write_run(output, cases)
        write_nnunet(output)


def test_a_scan_that_is_gone_is_told(tmp_path: Path, cases: dict[str, Path]) -> None:
    output, dataset = tmp_path / "out", tmp_path / "out" / "nnUNet_raw" / "Dataset001_out"
    write_run(output, cases)
    cases["b"].rename(tmp_path / "elsewhere.nii.gz")
    assert any(text.startswith("b: not in Dataset001_out:") for text in write_nnunet(output))
    assert [name for name in files(dataset) if "Tr/" in name] == [
        "imagesTr/a_0000.nii.gz",
        "labelsTr/a.nii.gz",
    ]
    before = times(dataset)
    cases["a"].rename(tmp_path / "elsewhere, too.nii.gz")
    assert any(text.startswith("a: left in Dataset001_out as it was:") for text in write_nnunet(output))
    assert times(dataset) == before
    assert list(record(dataset)["cases"]) == ["a"]


def test_names_that_nnunet_cannot_use(tmp_path: Path, cases: dict[str, Path]) -> None:
    named = {"Müller, K": cases["a"], "Muller K": cases["b"], "脳": cases["a"]}
    output = tmp_path / "Läufe 1"
    write_run(output, named)
    warnings = write_nnunet(output)
    dataset = output / "nnUNet_raw" / "Dataset001_Laufe_1"
    assert {name: entry["case"] for name, entry in record(dataset)["cases"].items()} == {
        "Muller_K": "Muller K",
        "Muller_K_2": "Müller, K",
        "case": "脳",
    }
    assert warnings[-1] == (
        "nnUNet_raw: 3 cases have other names there: Muller K -> Muller_K, Müller, K -> Muller_K_2, 脳 -> case "
        "(medlsam.json)"
    )
    # Names stay, whoever comes first next time.
    write_run(output, {"Müller, K": cases["a"]})
    write_nnunet(output)
    assert list(record(dataset)["cases"]) == ["Muller_K_2"]


def test_label_maps_without_a_structure_are_told(tmp_path: Path, cases: dict[str, Path]) -> None:
    nothing = LabelMap(np.zeros(GRID.shape_zyx, np.uint8), GRID)
    for case in cases:
        write_volume(nothing, tmp_path / "out" / case / "segmentation.nii.gz")
    write_run(tmp_path / "out", cases, {1: "block", 2: "plate"})
    told = ["nnUNet_raw: no label map holds a structure, and nnU-Net cannot plan from none"]
    for _ in range(2):
        assert write_nnunet(tmp_path / "out") == told
    drawn = tmp_path / "out" / "nnUNet_raw" / "Dataset001_out" / "labelsTr" / "a.nii.gz"
    write_volume(LabelMap(labels().array % 2, GRID), drawn)
    assert write_nnunet(tmp_path / "out") == []


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run.json"):
        write_nnunet(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("nnunetv2") is None, reason="nnunetv2 is not installed (the extra nnunet)")
def test_nnunet_accepts_it(tmp_path: Path) -> None:
    """nnU-Net's own check, its plan, and its preprocessing."""
    grid = Grid((40, 48, 48), (3.0, 3.0, 4.0), (10.0, -20.0, 5.0))
    generator, found = np.random.default_rng(0), {}
    mask = np.zeros(grid.shape_zyx, np.uint8)
    mask[10:20, 10:30, 12:28], mask[24:34, 8:20, 20:40] = 1, 3
    for name in "ab":
        array = generator.integers(-20, 60, grid.shape_zyx).astype(np.int16) + 200 * mask
        array[:, :3] = -1000
        found[name] = tmp_path / "scans" / f"{name}.nii.gz"
        write_volume(Image(array.astype(np.int16), grid), found[name])
        write_volume(LabelMap(mask, grid), tmp_path / "out" / name / "segmentation.nii.gz")
    write_run(tmp_path / "out", found, {1: "block", 3: "plate"})
    write_nnunet(tmp_path / "out")
    folders = {"nnUNet_raw": tmp_path / "out" / "nnUNet_raw"}
    folders |= {name: tmp_path / name for name in ("nnUNet_preprocessed", "nnUNet_results")}
    command = "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import *; plan_and_preprocess_entry()"
    result = subprocess.run(
        [sys.executable, "-c", command, "-d", "1", "--verify_dataset_integrity", "-np", "1", "-npfp", "1"],
        env=os.environ | {name: str(folder) for name, folder in folders.items()},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "verify_dataset_integrity Done" in result.stdout
    assert "Error" not in result.stdout
    assert "mismatch" not in result.stdout
    assert (tmp_path / "nnUNet_preprocessed" / "Dataset001_out" / "nnUNetPlans.json").is_file()
