"""``medlsam lesion measure`` and ``follow-up``: documents, files, exit codes."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.volume import Image, LabelMap
from tests.support.command_line import call, document
from tests.support.fakes.fake_localizer import FakeLocalizer

PNG = b"\x89PNG"


def write_visit(
    folder: Path,
    balls: dict[int, tuple[tuple[float, float, float], float]],
    middle: tuple[float, float, float],
) -> Path:
    """A scan of 256 mm around a place, with balls (place from the middle, radius in mm) by value."""
    grid = Grid((64, 64, 64), (4.0, 4.0, 4.0), tuple(m - 126.0 for m in middle))  # type: ignore[arg-type]
    z, y, x = np.meshgrid(*(np.arange(64) * 4.0 - 126.0 for _ in range(3)), indexing="ij")
    labels = np.zeros(grid.shape_zyx, np.uint8)
    for value, (place, radius) in balls.items():
        labels[(x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2 <= radius**2] = value
    hu = np.where(labels > 0, 80, 30).astype(np.int16)
    hu[:, :4] = -1000
    write_volume(Image(hu, grid), folder / "image.nii.gz")
    write_volume(LabelMap(labels, grid), folder / "lesions.nii.gz")
    (folder / "lesions.json").write_text('{"1": "m,liver", "2": "n,iliac", "3": "m,lung"}')
    return folder


@pytest.fixture
def visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr("medlsam.localize.localizer.load_localizer", lambda *_: FakeLocalizer())
    first = write_visit(
        tmp_path / "baseline", {1: ((20, 10, -40), 30), 2: ((-40, 0, 50), 20)}, (0.0, 0.0, 0.0)
    )
    second = write_visit(
        tmp_path / "month-3",
        {1: ((20, 10, -40), 18), 2: ((-40, 0, 50), 20), 3: ((50, -50, 20), 20)}, (30.0, 0.0, 200.0),
    )  # fmt: skip
    return first, second


def test_measure_prints_one_document(visits: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = visits
    result = call(
        "lesion", "measure", first / "lesions.nii.gz", "--scan", first / "image.nii.gz", "--output", tmp_path / "out",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = document(result)
    one, two = found["lesions"]
    assert one["longest_mm"] == pytest.approx(60, abs=4)
    assert one["perpendicular_mm"] == pytest.approx(60, abs=4)
    assert one["volume_ml"] == pytest.approx(4 / 3 * np.pi * 27, rel=0.05)
    assert (one["id"], one["type"], one["site"]) == (1, "metastasis", "liver")
    assert (two["type"], two["measurable"]) == ("lymph node", "measurable")
    assert one["first_slice"] < one["slice"] < one["last_slice"]
    assert one["mean_hu"] == 80
    assert found["correlation"] == []
    assert json.loads((tmp_path / "out" / "lesions.json").read_text())["lesions"] == found["lesions"]
    with open(tmp_path / "out" / "lesions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["longest_mm"]) for row in rows] == [one["longest_mm"], two["longest_mm"]]
    assert (tmp_path / "out" / "lesions.png").read_bytes()[:4] == PNG


def test_measure_prints_a_table(visits: tuple[Path, Path]) -> None:
    result = call("lesion", "measure", visits[0] / "lesions.nii.gz")
    assert result.exit_code == 0
    assert "short axis mm" in result.stdout
    assert "metastasis" in result.stdout


def test_a_folder_of_masks_is_measured_mask_by_mask(visits: tuple[Path, Path], tmp_path: Path) -> None:
    """HCUCH's layout: kinds in ``labels`` beside ``masks``; a damaged mask is named and the others are measured."""
    masks = tmp_path / "train" / "masks"
    masks.mkdir(parents=True)
    (tmp_path / "train" / "labels").mkdir()
    for name, folder in zip("ab", visits, strict=True):
        (masks / f"{name}.nii.gz").write_bytes((folder / "lesions.nii.gz").read_bytes())
    (tmp_path / "train" / "labels" / "b.json").write_text('{"3": "m,lung"}')
    (masks / "c.nii.gz").write_bytes(b"")
    result = call("lesion", "measure", masks, "--json")
    assert result.exit_code == 1
    found = document(result)
    assert [(own["case"], own["id"], own["site"]) for own in found["lesions"]][-1] == ("b", 3, "lung")
    assert len(found["lesions"]) == 5
    assert list(found["failed"]) == ["c"]


def test_a_folder_of_visits_is_measured_visit_by_visit(visits: tuple[Path, Path], tmp_path: Path) -> None:
    result = call("lesion", "measure", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert {own["case"] for own in document(result)["lesions"]} == {"baseline", "month-3"}
    assert len(document(call("lesion", "measure", visits[0], "--json"))["lesions"]) == 2


def test_follow_up_writes_and_prints(visits: tuple[Path, Path], tmp_path: Path) -> None:
    result = call("lesion", "follow-up", *visits, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    found = document(result)
    assert [own["visit"] for own in found["visits"]] == ["baseline", "month-3"]
    assert found["visits"][0]["sum_mm"] == pytest.approx(100, abs=7)
    assert (found["visits"][1]["response"], found["visits"][1]["new"]) == ("PD", [3])
    assert [(own["alias"], own["role"]) for own in found["lesions"]] == [
        ("A", "target"), ("B", "target"), ("", "new"),
    ]  # fmt: skip
    assert found["lesions"][0]["visits"][1]["diameter_mm"] == pytest.approx(36, abs=4)
    assert json.loads((tmp_path / "out" / "follow_up.json").read_text()) == found
    assert (tmp_path / "out" / "follow_up.png").read_bytes()[:4] == PNG
    with open(tmp_path / "out" / "follow_up.csv", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["measured"] * 4 + ["not_yet", "measured"]


def test_follow_up_prints_tables(visits: tuple[Path, Path], tmp_path: Path) -> None:
    result = call("lesion", "follow-up", *visits, "--output", tmp_path / "out", "--targets", "1")
    assert result.exit_code == 0, result.output
    assert "response by RECIST 1.1" in result.stdout
    assert "1 new lesion" in result.stdout


def test_a_later_visit_that_cannot_be_read_stays_in_its_place(
    visits: tuple[Path, Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "month-2"
    shutil.copytree(visits[1], damaged)
    (damaged / "image.nii.gz").write_bytes(b"")
    result = call(
        "lesion", "follow-up", visits[0], damaged, visits[1], "--output", tmp_path / "out", "--json"
    )
    assert result.exit_code == 1, result.output
    found = document(result)
    assert list(found["failed"]) == ["month-2"]
    assert [own.get("response") for own in found["visits"]] == [None, "NE", "PD"]
    assert "image.nii.gz" in found["visits"][1]["reason"]
    assert (tmp_path / "out" / "follow_up.png").read_bytes()[:4] == PNG


def test_visits_of_one_name_are_told_apart(visits: tuple[Path, Path], tmp_path: Path) -> None:
    for year, visit in zip(("2024", "2025"), visits, strict=True):
        shutil.copytree(visit, tmp_path / year / "ct")
    result = call(
        "lesion",
        "follow-up",
        tmp_path / "2024/ct",
        tmp_path / "2025/ct",
        "--output",
        tmp_path / "out",
        "--json",
    )
    assert [own["visit"] for own in document(result)["visits"]] == ["2024/ct", "2025/ct"]


def test_an_empty_mask_is_told_and_leaves_no_picture_of_before(
    visits: tuple[Path, Path], tmp_path: Path
) -> None:
    """A table with its heads, and everybody who was followed is gone: that may be an empty file, so it is said."""
    first, second = visits
    out = tmp_path / "out"
    for _ in range(2):
        call(
            "lesion",
            "measure",
            second / "lesions.nii.gz",
            "--scan",
            second / "image.nii.gz",
            "--output",
            out,
            "--json",
        )
    assert (out / "lesions.png").exists()
    grid = read_label_map(second / "lesions.nii.gz").grid
    write_volume(LabelMap(np.zeros(grid.shape_zyx, np.uint8), grid), second / "lesions.nii.gz")
    result = call(
        "lesion",
        "measure",
        second / "lesions.nii.gz",
        "--scan",
        second / "image.nii.gz",
        "--output",
        out,
        "--json",
    )
    assert document(result)["lesions"] == []
    assert (out / "lesions.csv").read_text().startswith("case,id,type,site,longest_mm")
    assert not (out / "lesions.png").exists()
    result = call("lesion", "follow-up", first, second, "--output", tmp_path / "followed")
    assert "its mask is empty" in " ".join(result.output.split())
    assert "CR" in result.stdout


def test_values_above_255_are_lesions_too(visits: tuple[Path, Path], tmp_path: Path) -> None:
    labels = read_label_map(visits[0] / "lesions.nii.gz")
    array = labels.array.astype(np.uint16)
    array[array == 2] = 300
    write_volume(LabelMap(array, labels.grid), tmp_path / "high.nii.gz")
    (tmp_path / "high.json").write_text('{"1": "m,liver"}')
    result = call("lesion", "measure", tmp_path / "high.nii.gz", "--json")
    assert [own["id"] for own in document(result)["lesions"]] == [1, 300]
    assert "high.json does not say what value 300 is" in " ".join(result.stderr.split())


def test_what_propagate_writes_says_the_kinds(visits: tuple[Path, Path]) -> None:
    first, _ = visits
    (first / "lesions.json").write_text(json.dumps({
        "scan": "ct.nii.gz", "coordinate_system": "LPS", "failed": [],
        "lesions": [
            {"name": "a", "type": None, "value": 1, "organ": {"organ": "liver", "relation": "inside"}},
            {"name": "b", "type": "lymph_node", "value": 2, "organ": None},
        ],
    }))  # fmt: skip
    found = document(call("lesion", "measure", first / "lesions.nii.gz", "--json"))["lesions"]
    assert [(own["type"], own["site"]) for own in found] == [
        ("lesion", "liver"),
        ("lymph node", "lymph_node"),
    ]


def test_a_lesion_has_one_number_in_both_commands(visits: tuple[Path, Path], tmp_path: Path) -> None:
    """Targets are named by what measure prints; parts that are too small have numbers of their own."""
    first, second = visits
    labels = read_label_map(first / "lesions.nii.gz")
    array = (labels.array > 0).astype(np.uint8)
    array[2, 30, 30] = 1
    write_volume(LabelMap(array, labels.grid), first / "lesions.nii.gz")
    measured = document(call("lesion", "measure", first / "lesions.nii.gz", "--json"))
    assert measured["left_out"] == {"lesions": 1}
    large = max(measured["lesions"], key=lambda own: own["longest_mm"])
    followed = document(call(
        "lesion", "follow-up", first, second, "--output", tmp_path / "out", "--targets", large["id"], "--json",
    ))  # fmt: skip
    (target,) = (own for own in followed["lesions"] if own["role"] == "target")
    assert target["visits"][0]["longest_mm"] == large["longest_mm"]


def test_two_masks_of_one_name_are_both_measured(visits: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, visit in zip(("one.nii.gz", "one.nrrd"), visits, strict=True):
        write_volume(read_label_map(visit / "lesions.nii.gz"), folder / name)
    found = document(call("lesion", "measure", folder, "--json"))
    assert {own["case"] for own in found["lesions"]} == {"one.nii.gz", "one.nrrd"}
    assert len(found["lesions"]) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["measure", "nowhere.nii.gz"], "there is no such file"),
        (["measure", "baseline/lesions.nii.gz", "--instances", "each"], "instances: 'each' is unknown"),
        (["measure", "baseline/lesions.nii.gz", "--scan", "other/image.nii.gz"], "do not lie on the grid"),
        (["measure", "."], "--scan goes with one mask"),
        (["measure", "other/dicom"], "no lesion mask in this folder"),
        (["follow-up", "baseline", "other", "--output", "out"], "no lesion mask"),
        (["follow-up", "baseline", "nowhere", "--output", "out"], "no such file or folder"),
        (["follow-up", "baseline", "baseline/lesions.nii.gz", "--output", "out"], "needs its scan"),
        (["follow-up", "baseline", "month-3", "--output", "out", "--targets", "a"], "numbers of lesions"),
        (["follow-up", "baseline", "month-3", "--output", "out", "--targets", "9"], "no lesion 9"),
        (["follow-up", "baseline", "baseline/", "--output", "out"], "given twice"),
        (["follow-up", "baseline", "damaged", "--output", "out"], "damaged"),
        (["follow-up", "damaged", "baseline", "--output", "out"], "damaged"),
        (["follow-up", "baseline", "month-3", "--output", "out", "--least-voxels", "0"], "1 or more"),
        (
            ["measure", "baseline/lesions.nii.gz", "--slice-thickness", "nan"],
            "slice thickness: a positive number",
        ),
        (["measure", "baseline/lesions.nii.gz", "--output", "baseline/image.nii.gz"], "this is a file"),
        (["measure", "baseline/lesions.nii.gz", "--output", "baseline"], "the mask lies there"),
        (["measure", "baseline/lesions.nii.gz", "--output", "month-3"], "not of lesion measure"),
        (["measure", "baseline/image.nii.gz"], "not a label map"),
        (["measure", "baseline/lesions.nii.gz", "--kinds", "nowhere.json"], "cannot be read as JSON"),
    ],
)
def test_wrong_calls(
    arguments: list[str],
    said: str,
    visits: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    hu = np.arange(480, dtype=np.int16).reshape(6, 8, 10) - 400
    write_volume(Image(hu, Grid(hu.shape)), tmp_path / "other" / "image.nii.gz")
    (tmp_path / "other" / "dicom").mkdir()
    shutil.copytree(visits[1], tmp_path / "damaged")
    (tmp_path / "damaged" / "lesions.nii.gz").write_bytes(b"")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    if arguments[1:] == ["."]:
        arguments = [*arguments, "--scan", "baseline/image.nii.gz"]
    result = call("lesion", *arguments)
    assert result.exit_code == 2, result.output

    assert re.search(said, " ".join(result.output.split()))
    assert not (tmp_path / "out").exists()
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
