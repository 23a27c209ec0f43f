"""``medlsam lesion measure`` and ``follow-up``: documents, files, exit codes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from medlsam.geometry import Grid
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
    if arguments[1:] == ["."]:
        arguments = [*arguments, "--scan", "baseline/image.nii.gz"]
    result = call("lesion", *arguments)
    assert result.exit_code == 2, result.output

    assert re.search(said, " ".join(result.output.split()))
    assert not (tmp_path / "out").exists()
