"""``--dry-run``: what would be done and why, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medlsam.io.write import write_volume
from tests.support.command_line import GRID, call, document, usual
from tests.support.fakes.stub_model import draw_ct, template_set


def actions(found: Any) -> dict[str, tuple[str, str]]:
    return {scan["name"]: (scan["action"], scan["why"]) for scan in found["scans"]}


def state(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_mtime_ns for f in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize("command", ["segment", "localize"])
def test_nothing_is_written(command: str, asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    before = state(tmp_path)
    result = call(command, *usual(template, scans, tmp_path / "new" / "out"), "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert state(tmp_path) == before
    found = document(result)
    assert found["dry_run"] is True
    assert found["command"] == command
    assert found["output"] == str(tmp_path / "new" / "out")
    assert actions(found) == {"a": ("do", "new"), "b": ("do", "new")}
    assert found["scans"][0]["path"] == str(scans / "a_0000.nii.gz")
    assert found["structures"] == {"block": 1, "plate": 7, "ghost": 300}
    assert found["templates"] == {"path": str(template), "scans": ["template"]}
    assert set(found["weights"]) == ({"localizer", "segmenter"} if command == "segment" else {"localizer"})
    assert "<case>/localization.json" in found["files"]
    assert ("statistics.csv" in found["files"]) == (command == "segment")
    assert found["exit_code"] == 0


def test_it_says_what_people_want_to_know(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    result = call(
        "segment", *usual(template, scans, tmp_path / "out"), "--dry-run", "--organs", "block", "--margin-mm", "2",
        "--format", "slicer", "--shard", "1/2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "dry run of medlsam segment: nothing is written" in words
    for part in (
        "scans: 1 to do, 0 to skip",
        "structures: block device",
        "options: organs block, margin_mm 2.0, format nifti,slicer",
        "<case>/segmentation.seg.nrrd",
    ):
        assert part in words
    assert "report.html" not in words
    assert not (tmp_path / "out").exists()


def test_a_pair_of_hu_is_the_same_option_in_the_next_run(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    usually = (*usual(template, scans, tmp_path / "out"), "--window", "-1350,150")
    call("segment", *usually)
    found = document(call("segment", *usually, "--dry-run", "--json"))
    assert actions(found)["a"] == ("skip", "done before and unchanged")


def test_why_scans_are_done_again(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    def foresee(*more: object, support: Path = template) -> dict[str, tuple[str, str]]:
        before = state(output)
        found = document(call("segment", *usual(support, scans, output), "--dry-run", "--json", *more))
        assert state(output) == before
        return actions(found)

    (scans / "c_0000.nii.gz").write_bytes(b"no image")
    call("segment", *usual(template, scans, output))
    again = foresee()
    assert again == {
        "a": ("skip", "done before and unchanged"),
        "b": ("skip", "done before and unchanged"),
        "c": ("do", "it failed before"),
    }
    assert foresee("--overwrite")["a"] == ("do", "done and unchanged; --overwrite does it again")
    assert foresee("--prompts", "wpl", "--components", "all")["a"] == (
        "do",
        "changed: prompts profile -> wpl; components templates -> all",
    )
    assert foresee("--window", "-1350,150")["a"] == ("do", "changed: window auto -> -1350.0,150.0")
    template_set(shift=1.0).save(tmp_path / "other.medlsam")
    assert foresee(support=tmp_path / "other.medlsam")["b"] == ("do", "changed: templates")
    write_volume(draw_ct(GRID, seed=5), scans / "b_0000.nii.gz")
    (output / "a" / "segmentation.nii.gz").unlink()
    write_volume(draw_ct(GRID), scans / "d_0000.nii.gz")
    assert foresee() == {
        "a": ("do", "its files are not all there"),
        "b": ("do", "what it is made from has changed: the scan's files, or what was given for it"),
        "c": ("do", "it failed before"),
        "d": ("do", "new"),
    }
    # What the dry run says is what the run does.
    assert document(call("segment", *usual(template, scans, output), "--json"))["done"] == ["a", "b", "d"]
    run = json.loads((output / "run.json").read_text())
    run["version"] = "0.0.1"
    (output / "run.json").write_text(json.dumps(run))
    assert foresee("--prompts", "wpl")["a"] == ("do", "changed: options, templates, weights or version")


def test_a_folder_of_templates_is_not_embedded_where_nothing_is_done(
    asked: Any, scans: Path, labels: Path, tmp_path: Path
) -> None:
    templates = tmp_path / "templates"
    for name in ("p", "q"):
        write_volume(draw_ct(GRID), templates / name / "image.nii.gz")
        (templates / name / "labels.nii.gz").write_bytes((labels / "a.nii.gz").read_bytes())
    (templates / "labels.json").write_text(json.dumps({"block": 1, "plate": 7}))
    # The stub's localizer could not embed them.
    found = document(call("segment", *usual(templates, scans, tmp_path / "out"), "--dry-run", "--json"))
    assert found["templates"] == {"path": str(templates), "scans": ["p", "q"]}
    assert found["structures"] == {"block": 1, "plate": 7}
    result = call(
        "segment", *usual(templates, scans, tmp_path / "out"), "--dry-run", "--json", "--organs", "liver"
    )
    assert result.exit_code == 2
    assert "no template has liver" in document(result)["error"]["text"]


def test_weights_that_are_not_here_are_not_downloaded(
    asked: Any, template: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medlsam.pipeline.model import MedLSAM
    from medlsam.weights import ENTRIES

    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path / "home"))
    name = next(name for name, entry in ENTRIES.items() if entry.url and entry.kind == "segmenter")

    def load(options: Any) -> MedLSAM:
        from tests.support.fakes.stub_model import stub_model

        return MedLSAM(stub_model(monkeypatch).localizer, options=options)

    monkeypatch.setattr("medlsam.pipeline.model.load", load)
    call_with = [*usual(template, scans, tmp_path / "out"), "--segmenter", name, "--dry-run"]
    found = document(call("segment", *call_with, "--json"))
    assert found["weights"]["segmenter"] == {
        "name": name, "sha256": ENTRIES[name].sha256, "present": False,
    }  # fmt: skip
    assert "to be downloaded" in call("segment", *call_with).stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--prompts", "profil"], "did you mean 'profile'"),
        (["--images", "nowhere"], "nowhere: there is no such file or folder"),
        (["--support", "nowhere.medlsam"], "nowhere.medlsam"),
        (["--format", "rtstruct"], "--reference-series"),
    ],
)
def test_a_wrong_call_gives_2(
    more: list[str], message: str, asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--dry-run", "--json", *more)
    assert result.exit_code == 2
    assert message in document(result)["error"]["text"]
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_made_is_told(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = call("segment", *usual(template, scans, tmp_path / "file" / "out"), "--dry-run", "--json")
    assert result.exit_code == 2
    assert "cannot be used for the output" in document(result)["error"]["text"]
