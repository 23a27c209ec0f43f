"""``medlsam lesion propagate``: its files, its exit codes, and one bad lesion among good ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import medlsam
from medlsam.geometry import Grid
from medlsam.io.labels import read_label_map
from medlsam.volume import Image, LabelMap
from tests.support.command_line import call, document

GRID = Grid((20, 60, 60), (1.5, 1.5, 3.0), (-20.0, 5.0, 30.0))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A dark ball of 24 mm in muscle, with air around: what sam-tiny knows."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij")
    ball = (3 * (z - 10)) ** 2 + (1.5 * (y - 30)) ** 2 + (1.5 * (x - 30)) ** 2 < 12**2
    hu = (
        np.where((y < 4) | (y > 55), -1000, 60)
        - 60 * ball
        + np.random.default_rng(0).normal(0, 8, ball.shape)
    )
    medlsam.write_volume(Image(hu.round().astype(np.int16), GRID), tmp_path / "scan.nii.gz")
    organ = np.where((x > 10) & (x < 50) & ~ball, 1, 0).astype(np.uint8)
    medlsam.write_volume(LabelMap(organ, GRID), tmp_path / "organs.nii.gz", names={1: "liver"})
    return tmp_path / "scan.nii.gz"


def marks(folder: Path, *more: object) -> Path:
    low, high = (GRID.ijk_to_lps((at, at, 10)).tolist() for at in (22, 38))
    (folder / "marks.json").write_text(
        json.dumps({"lesions": [{"name": "one", "type": "cyst", "box": {"min": low, "max": high}}, *more]})
    )
    return folder / "marks.json"


def test_a_lesion_is_written_with_its_organ_and_picture(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call(
        *("lesion", "propagate", scan, "--prompts", marks(tmp_path), "--output", out),
        *("--organs", tmp_path / "organs.nii.gz", "--device", "cpu", "--json"),
    )
    assert result.exit_code == 0, result.output
    told = document(result)
    assert told == json.loads((out / "lesions.json").read_text())
    (lesion,) = told["lesions"]
    assert (lesion["name"], lesion["type"], lesion["value"], lesion["prompt"]) == ("one", "cyst", 1, "box")
    assert lesion["organ"]["organ"] == "liver"
    assert 15 < lesion["longest_mm"] < 36
    assert json.loads((out / "labels.json").read_text()) == {"1": "one"}
    mask = read_label_map(out / "lesions.nii.gz")
    assert mask.grid.matches(GRID)
    assert mask.array[10, 30, 30] == 1
    assert lesion["volume_ml"] == pytest.approx((mask.array == 1).sum() * GRID.voxel_ml, abs=1e-3)
    assert (out / "lesions.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bad_lesion_is_reported_and_the_others_are_written(scan: Path, tmp_path: Path) -> None:
    prompts = marks(tmp_path, {"name": "elsewhere", "point": [0, 0, 9999]}, {"name": "empty"})
    result = call("lesion", "propagate", scan, "--prompts", prompts, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 1
    told = document(result)
    assert [own["name"] for own in told["lesions"]] == ["one"]
    assert {own["name"] for own in told["failed"]} == {"elsewhere", "empty"}
    assert told["lesions"][0]["organ"] is None
    assert (tmp_path / "out" / "lesions.nii.gz").is_file()
    assert "is it of another scan" in result.stderr


def test_lesions_of_one_name_and_a_run_without_any(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = marks(tmp_path)
    assert call("lesion", "propagate", scan, "--prompts", good, "--output", out).exit_code == 0
    bad = tmp_path / "bad.json"
    bad.write_text(
        json.dumps({"lesions": [{"name": "a", "point": [0, 0, 9999]}, {"name": "a", "point": [0, 0, 0]}]})
    )
    result = call("lesion", "propagate", scan, "--prompts", bad, "--output", out, "--json")
    assert result.exit_code == 1
    told = document(result)
    assert [own["name"] for own in told["failed"]] == ["a", "a"], (
        "one is there twice, the other outside of the scan"
    )
    assert told["lesions"] == []
    assert json.loads((out / "labels.json").read_text()) == {}
    assert not read_label_map(out / "lesions.nii.gz").array.any()
    assert not (out / "lesions.png").exists(), "the picture of the earlier run shows other lesions"


def test_a_wrong_call_writes_nothing(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = ("lesion", "propagate", scan, "--prompts", marks(tmp_path), "--output", out)
    for wrong in (
        ("lesion", "propagate", scan, "--prompts", tmp_path / "absent.json", "--output", out),
        ("lesion", "propagate", tmp_path / "absent.nii.gz", *good[3:]),
        (*good, "--organs", tmp_path / "absent"),
        (*good, "--method", "magic"),
        (*good, "--method", "medsam2"),
        (*good[:-1], scan),
    ):
        result = call(*wrong)
        assert result.exit_code == 2, result.output
    assert not out.exists()
