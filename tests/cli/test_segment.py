"""``medlsam segment`` and ``localize``: exit codes, one JSON document on standard output, clean messages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medlsam.runtime.run_lock import run_lock
from medlsam.weights import sha256_of
from medlsam.weights.entries import SHIPPED_DIR
from tests.support.bare_templates import bare_templates
from tests.support.command_line import call, document, usual
from tests.support.fakes.stub_model import template_set
from tests.support.paths import ROOT


def test_flags_show_the_defaults_of_the_options() -> None:
    text = " ".join(call("segment", "--help").stdout.replace("│", " ").split())
    assert "[default: sam-tiny]" in text
    assert "profile|spl|wpl" in text


def test_segment(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = call("segment", *usual(template, scans, output), "--organs", "block,plate", "--json")
    assert result.exit_code == 0, result.output
    assert document(result)["done"] == ["a", "b"]
    assert asked == [("medlam-tiny", "sam-tiny", "auto")]
    assert json.loads((output / "labels.json").read_text()) == {"1": "block", "7": "plate"}
    assert (output / "a" / "segmentation.nii.gz").is_file()
    assert (output / "report.html").is_file()
    assert "2 done" in result.stderr


def test_formats(
    asked: Any, template: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    output = tmp_path / "out"
    flags = ["--format", "slicer", "--per-structure", "--json"]
    result = call("segment", *usual(template, scans, output), *flags)
    assert result.exit_code == 0, result.output
    assert (output / "a" / "segmentation.seg.nrrd").is_file()
    assert (output / "a" / "structures" / "block.nii.gz").is_file()
    assert (output / "labels.itksnap.txt").is_file()
    text = " ".join(call("segment", "--help").stdout.replace("│", " ").split())
    assert "nifti,dicom-seg,rtstruct,slicer" in text
    assert "is always written. [default: nifti]" in text


def test_a_dicom_format_of_scans_that_are_none_is_refused(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    result = call(
        "segment", *usual(template, scans, tmp_path / "out"), "--format", "nifti,rtstruct", "--json"
    )
    assert result.exit_code == 2
    assert document(result)["error"]["type"] == "UsageError"
    assert "--reference-series DIR" in document(result)["error"]["text"]
    assert not (tmp_path / "out").exists()


def test_without_json_nothing_is_on_standard_output(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    result = call("segment", *usual(template, scans, tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_scan_that_fails_gives_1_and_the_others_are_written(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    (scans / "broken_0000.nii.gz").write_bytes(b"not an image")
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 1
    found = document(result)
    assert found["done"] == ["a", "b"]
    assert list(found["failed"]) == ["broken"]
    assert "broken" in result.stderr
    assert (tmp_path / "out" / "b" / "segmentation.nii.gz").is_file()


def test_localize_loads_no_segmenter(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    result = call("localize", *usual(template, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    assert document(result)["done"] == ["a", "b"]
    written = sorted(f.name for f in (tmp_path / "out" / "a").glob("[!.]*"))
    assert written == ["boxes.mrk.json", "localization.json"]  # the stub places no points


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--prompts", "profil"], "did you mean 'profile'"),
        (["--organs", "blok"], "blok"),
        (["--threshold", "1.5"], "threshold must lie between 0 and 1"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--support", "nowhere.medlsam"], "nowhere.medlsam"),
        (["--images", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_a_wrong_call_gives_2_and_writes_nothing(
    more: list[str], message: str, asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    result = call("segment", *usual(template, scans, output), *more, "--json")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    found = document(result)
    assert found["exit_code"] == 2
    assert message in found["error"]["text"]
    assert not output.exists()


def test_an_unknown_flag_gives_2() -> None:
    assert call("segment", "--suport", "x").exit_code == 2


def test_weights_that_are_not_there_give_2(template: Path, scans: Path, tmp_path: Path) -> None:
    call_with = [*usual(template, scans, tmp_path / "out"), "--localizer", tmp_path / "none.safetensors"]
    result = call("segment", *call_with)
    assert result.exit_code == 2
    assert "none.safetensors is neither a file nor a name that is known" in result.stderr
    assert not (tmp_path / "out").exists()


def test_flags_of_the_policy_and_the_cache(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    policy = ("--shrink", "0.9", "--no-propagate", "--shape-prompt", "--axes", "three", "--overlaps", "order")
    result = call("segment", *usual(template, scans, tmp_path / "out"), *policy, "--cache", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    expected = {"shrink": 0.9, "propagate": False, "shape_prompt": True, "axes": "three", "overlaps": "order"}
    assert options.items() >= expected.items()
    assert options["cache"] == str(tmp_path / "kept")
    assert asked == [("medlam-tiny", "sam-tiny", "auto")]
    wrong = call("segment", *usual(template, scans, tmp_path / "out"), "--zoom", "0.3")
    assert wrong.exit_code == 2
    assert "zoom must be 0" in " ".join(wrong.output.split())


def test_the_yaml_file_fills_the_fields_and_flags_win(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("segmenter: medsam_vit_b\nprompts: wpl\norgans: [block]\n")
    result = call(
        "segment", *usual(template, scans, tmp_path / "out"), "--config", config, "--prompts", "spl"
    )
    assert result.exit_code == 0, result.output
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert (options["segmenter"], options["prompts"]) == ("medsam_vit_b", "spl")
    assert options["organs"] == ["block"]
    assert asked == [("medlam-tiny", "medsam_vit_b", "auto")]


def test_an_unknown_key_in_the_yaml_file_gives_2(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "options.yaml").write_text("promts: wpl\n")
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--config", tmp_path / "options.yaml")
    assert result.exit_code == 2
    assert "did you mean 'prompts'" in result.stderr


def test_markup_in_a_message_is_shown_as_it_is(asked: Any, scans: Path, tmp_path: Path) -> None:
    result = call("segment", *usual(Path("[bold]x.medlsam"), scans, tmp_path / "out"))
    assert "[bold]x.medlsam" in result.stderr


def test_boxes_go_to_slicer_and_come_back(asked: Any, scans: Path, tmp_path: Path) -> None:
    template = tmp_path / "bare.medlsam"
    bare_templates().save(template)
    assert call("localize", *usual(template, scans, tmp_path / "located")).exit_code == 0
    shutil.rmtree(tmp_path / "located" / "b")
    result = call(
        "segment", *usual(template, scans, tmp_path / "out"), "--boxes", tmp_path / "located", "--json"
    )
    assert result.exit_code == 1
    assert document(result)["done"] == ["a"]
    assert "no boxes for b" in document(result)["failed"]["b"]
    wrong = call("segment", *usual(template, scans, tmp_path / "new"), "--boxes", tmp_path / "nowhere")
    assert wrong.exit_code == 2
    assert "no such file or folder of boxes" in " ".join(wrong.stderr.split())
    assert not (tmp_path / "new").exists()


def test_a_dataset_for_nnunet(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    dataset = output / "nnUNet_raw" / "Dataset001_out"
    assert (
        call("segment", *usual(template, scans, output), "--shard", "1/2", "--layout", "nnunet").exit_code
        == 0
    )
    assert not dataset.exists()
    result = call("segment", *usual(template, scans, output), "--layout", "nnunet", "--json")
    assert result.exit_code == 0
    assert document(result)["skipped"] == ["a"]
    assert document(result)["warnings"] == [
        "nnUNet_raw: nnU-Net counts label values without gaps: plate 7 -> 2, ghost 300 -> 3"
    ]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 2
    wrong = call("segment", *usual(template, scans, tmp_path / "new"), "--layout", "nnUnet")
    assert wrong.exit_code == 2
    assert "did you mean 'nnunet'" in wrong.stderr
    assert not (tmp_path / "new").exists()


def test_a_dataset_that_fails_is_a_warning(
    asked: Any, template: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(output: Path) -> list[str]:
        raise OSError("no space")

    monkeypatch.setattr("medlsam.export.nnunet.write_nnunet", broken)
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--layout", "nnunet", "--json")
    assert result.exit_code == 0
    assert document(result)["warnings"] == ["nnUNet_raw could not be written: OSError: no space"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["warnings"] == document(result)["warnings"]


@pytest.mark.parametrize("command", ["segment", "localize", "evaluate", "pool build"])
def test_a_folder_in_which_another_run_is_at_work_gives_2(
    command: str, asked: Any, template: Path, scans: Path, labels: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    flags = usual(template, scans, output)
    if command == "evaluate":
        flags += ["--labels", labels]
    if command == "pool build":
        flags = [scans, "--output", output]
    with run_lock(output):
        before = sorted(output.rglob("*"))
        result = call(*command.split(), *flags, "--json")
        assert sorted(output.rglob("*")) == before
    assert result.exit_code == 2
    assert "another run is at work in this folder" in document(result)["error"]["text"]
    assert not output.exists()


def test_names_that_are_no_text(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    with open(os.fsencode(scans) + b"/M\xfcller.nii.gz", "wb"):
        pass
    result = call("localize", *usual(template, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout_bytes.decode("utf-8"))
    (text,) = found["failed"].values()
    assert text.encode("utf-8", "surrogateescape").count(b"M\xfcller.nii.gz") == 1


def test_a_table_shows_names_that_are_no_text(scans: Path, tmp_path: Path) -> None:
    with open(os.fsencode(scans) + b"/M\xfcller.nii.gz", "wb"):
        pass
    template_set(signature=sha256_of(SHIPPED_DIR / "medlam-tiny.safetensors")).save(tmp_path / "t.medlsam")
    command = [sys.executable, "-c", "from medlsam.cli import main; main()", "localize", "--dry-run"]
    flags = [str(part) for part in usual(tmp_path / "t.medlsam", scans, tmp_path / "out")]
    environment = os.environ | {
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8:strict",
        "PYTHONPATH": str(ROOT),
    }
    shown = subprocess.run([*command, *flags], capture_output=True, env=environment, check=False)
    assert shown.returncode == 0, shown.stderr
    assert b"M\\udcfcller.nii.gz" in shown.stdout
