"""The command line: exit codes, one JSON document on standard output, clean messages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.localize.templates.template_set import OrganCalibration, TemplateSet
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Volume
from medlsam.weights.registry import ENTRIES
from tests.support.stub_model import (
    VALUES,
    draw_ct,
    stub_model,
    template_set,
    true_mask,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
COMMANDS = (
    "segment", "localize", "evaluate", "template", "pretrain", "pool", "finetune", "weights", "info", "demo",
)  # fmt: skip


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What ``load`` was called with; it gives the stub model."""
    calls: list[tuple[str, str, str]] = []
    model = stub_model(monkeypatch)
    timed = model.segmenter.segment

    def segment(volume: Any, prompts: Any, stopwatch: Any = None, mask_prompts: Any = None) -> Any:
        # A structure is asked for under several names ("oracle_box/block/+1"); the stub knows it by one.
        blocks = {}
        for key, own in prompts.items():
            (name,) = (part for part in key.split("/") if part in ("block", "plate", "ghost"))
            blocks[key] = timed(volume, {name: own}, stopwatch=stopwatch or Stopwatch())[name]
        return blocks

    monkeypatch.setattr(model.segmenter, "segment", segment)

    def load(localizer: str, segmenter: str, device: str, *more: Any, **named: Any) -> MedLSAM:
        calls.append((localizer, segmenter, device))
        return model

    monkeypatch.setattr("medlsam.pipeline.model.load", load)
    # Drawn pictures are tests/test_report.py's; here it is enough that a report is asked for.
    monkeypatch.setattr("medlsam.export.report.MOST_CASES_DRAWN", 0)
    return calls


@pytest.fixture
def support(tmp_path: Path) -> Path:
    template_set().save(tmp_path / "support.medlsam")
    return tmp_path / "support.medlsam"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_volume(draw_ct(GRID), tmp_path / "scans" / f"{name}_0000.nii.gz")
    return tmp_path / "scans"


def usual(support: Path, scans: Path, output: Path) -> list[object]:
    return ["--support", support, "--images", scans, "--output", output]


def document(result: Any) -> Any:
    """The one JSON document; fails where anything else is on standard output."""
    return json.loads(result.stdout)


def test_help_lists_the_commands() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f"│ {name} " not in result.stdout] == []


@pytest.mark.parametrize("command", [*COMMANDS, "template build", "template show", "weights list"])
def test_every_command_has_help(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: medlsam {command}" in result.stdout


def test_flags_show_the_defaults_of_the_options() -> None:
    text = " ".join(call("segment", "--help").stdout.replace("│", " ").split())
    assert "[default: sam-tiny]" in text
    assert "profile|spl|wpl" in text


def test_version() -> None:
    from medlsam import __version__

    assert call("--version").stdout.strip() == f"medlsam {__version__}"


def test_segment(asked: Any, support: Path, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = call("segment", *usual(support, scans, output), "--organs", "block,plate", "--json")
    assert result.exit_code == 0, result.output
    assert document(result)["done"] == ["a", "b"]
    assert asked == [("medlam-tiny", "sam-tiny", "auto")]
    assert json.loads((output / "labels.json").read_text()) == {"1": "block", "7": "plate"}
    assert (output / "a" / "segmentation.nii.gz").is_file()
    assert (output / "report.html").is_file()
    assert "2 done" in result.stderr


def test_without_json_nothing_is_on_standard_output(
    asked: Any, support: Path, scans: Path, tmp_path: Path
) -> None:
    result = call("segment", *usual(support, scans, tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_scan_that_fails_gives_1_and_the_others_are_written(
    asked: Any, support: Path, scans: Path, tmp_path: Path
) -> None:
    (scans / "broken_0000.nii.gz").write_bytes(b"not an image")
    result = call("segment", *usual(support, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 1
    found = document(result)
    assert found["done"] == ["a", "b"]
    assert list(found["failed"]) == ["broken"]
    assert "broken" in result.stderr
    assert (tmp_path / "out" / "b" / "segmentation.nii.gz").is_file()


def test_localize_loads_no_segmenter(asked: Any, support: Path, scans: Path, tmp_path: Path) -> None:
    result = call("localize", *usual(support, scans, tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    assert document(result)["done"] == ["a", "b"]
    assert sorted(f.name for f in (tmp_path / "out" / "a").glob("[!.]*")) == ["localization.json"]


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
    more: list[str], message: str, asked: Any, support: Path, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    result = call("segment", *usual(support, scans, output), *more, "--json")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    found = document(result)
    assert found["exit_code"] == 2
    assert message in found["error"]["text"]
    assert not output.exists()


def test_an_unknown_flag_gives_2() -> None:
    assert call("segment", "--suport", "x").exit_code == 2


def test_weights_that_are_not_there_give_2(support: Path, scans: Path, tmp_path: Path) -> None:
    call_with = [*usual(support, scans, tmp_path / "out"), "--localizer", tmp_path / "none.safetensors"]
    result = call("segment", *call_with)
    assert result.exit_code == 2
    assert "none.safetensors is neither a file nor a name that is known" in result.stderr
    assert not (tmp_path / "out").exists()


def test_flags_of_the_policy_and_the_cache(asked: Any, support: Path, scans: Path, tmp_path: Path) -> None:
    policy = ("--shrink", "0.9", "--no-propagate", "--shape-prompt", "--axes", "three", "--overlaps", "order")
    result = call("segment", *usual(support, scans, tmp_path / "out"), *policy, "--cache", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    expected = {"shrink": 0.9, "propagate": False, "shape_prompt": True, "axes": "three", "overlaps": "order"}
    assert options.items() >= expected.items()
    assert options["cache"] == str(tmp_path / "kept")
    assert asked == [("medlam-tiny", "sam-tiny", "auto")]
    wrong = call("segment", *usual(support, scans, tmp_path / "out"), "--zoom", "0.3")
    assert wrong.exit_code == 2
    assert "zoom must be 0" in " ".join(wrong.output.split())


def test_the_yaml_file_fills_the_fields_and_flags_win(
    asked: Any, support: Path, scans: Path, tmp_path: Path
) -> None:
    config = tmp_path / "options.yaml"
    config.write_text("segmenter: medsam_vit_b\nprompts: wpl\norgans: [block]\n")
    result = call("segment", *usual(support, scans, tmp_path / "out"), "--config", config, "--prompts", "spl")
    assert result.exit_code == 0, result.output
    options = json.loads((tmp_path / "out" / "run.json").read_text())["options"]
    assert (options["segmenter"], options["prompts"]) == ("medsam_vit_b", "spl")
    assert options["organs"] == ["block"]
    assert asked == [("medlam-tiny", "medsam_vit_b", "auto")]


def test_an_unknown_key_in_the_yaml_file_gives_2(
    asked: Any, support: Path, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "options.yaml").write_text("promts: wpl\n")
    result = call("segment", *usual(support, scans, tmp_path / "out"), "--config", tmp_path / "options.yaml")
    assert result.exit_code == 2
    assert "did you mean 'prompts'" in result.stderr


@pytest.fixture
def labels(scans: Path, tmp_path: Path) -> Path:
    """True labels of both scans."""
    scan = draw_ct(GRID)
    array = np.zeros(GRID.shape_zyx, np.uint8)
    for name in ("block", "plate"):
        array[true_mask(scan, name)] = VALUES[name]
    for name in ("a", "b"):
        write_volume(Volume(array, GRID), tmp_path / "labels" / f"{name}.nii.gz")
    (tmp_path / "labels" / "labels.json").write_text(json.dumps({"block": 1, "plate": 7}))
    return tmp_path / "labels"


def test_evaluate(asked: Any, support: Path, scans: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"val": ["b"]}))
    result = call(
        "evaluate", *usual(support, scans, tmp_path / "out"), "--labels", labels,
        "--cases", f"{tmp_path / 'split.json'}:val", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    metrics = document(result)
    assert metrics["cases"] == 1
    assert metrics["organs"]["block"]["dice"]["located"] == pytest.approx(1)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics


def test_evaluate_prints_a_table(
    asked: Any, support: Path, scans: Path, labels: Path, tmp_path: Path
) -> None:
    result = call("evaluate", *usual(support, scans, tmp_path / "out"), "--labels", labels)
    assert result.exit_code == 0, result.output
    assert "block" in result.stdout


def test_evaluate_names_a_case_that_is_not_there(
    asked: Any, support: Path, scans: Path, labels: Path, tmp_path: Path
) -> None:
    (tmp_path / "split.json").write_text(json.dumps(["bb"]))
    result = call(
        "evaluate", *usual(support, scans, tmp_path / "out"), "--labels", labels,
        "--cases", tmp_path / "split.json",
    )  # fmt: skip
    assert result.exit_code == 2
    assert "there is no scan 'bb' (did you mean" in result.stderr
    assert not (tmp_path / "out").exists()


def test_template_show(tmp_path: Path) -> None:
    templates = template_set(["block", "plate"])
    templates.calibration["block"] = OrganCalibration(3, (1, 2, 3, 4, 5, 6), (2,) * 6, 0.75, 0.5)
    templates.save(tmp_path / "t.medlsam")
    found = document(call("template", "show", tmp_path / "t.medlsam", "--json"))
    assert list(found["organs"]) == ["block", "plate"]
    assert found["organs"]["plate"]["leave_one_out"] is None
    assert found["organs"]["block"]["leave_one_out"]["face_error_mm"]["z+"] == 6
    table = call("template", "show", tmp_path / "t.medlsam").stdout
    assert "0.50" in table  # IoU
    assert "3.5" in table  # mean of the faces


def test_template_show_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "t.medlsam").write_text("no template")
    result = call("template", "show", tmp_path / "t.medlsam")
    assert result.exit_code == 2
    assert "not a medlsam template file" in result.stderr


def test_template_build(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def templates(self: MedLSAM, path: Path, organs: Any, cases: Any, on_progress: Any) -> TemplateSet:
        seen.update(path=path, organs=organs, cases=cases)
        return template_set(organs)

    monkeypatch.setattr(MedLSAM, "templates", templates)
    (tmp_path / "folder").mkdir()
    result = call(
        "template", "build", tmp_path / "folder", "--output", tmp_path / "t.medlsam",
        "--organs", "plate", "--cases", "split.json:train", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert seen == {"path": tmp_path / "folder", "organs": ("plate",), "cases": "split.json:train"}
    assert TemplateSet.load(tmp_path / "t.medlsam").organs == ("plate",)
    assert list(document(result)["organs"]) == ["plate"]


def test_template_build_of_a_missing_folder(asked: Any, tmp_path: Path) -> None:
    result = call("template", "build", tmp_path / "none", "--output", tmp_path / "t.medlsam")
    assert result.exit_code == 2
    assert "there is no such templates folder" in result.stderr


def test_pretrain_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    # A stand-in for the module: importing Lightning takes longer than all other tests here.
    monkeypatch.setitem(sys.modules, "medlsam.localize.pretrain.module", SimpleNamespace(cli=seen.append))  # type: ignore[arg-type]
    arguments = ["fit", "--config", "c.yaml", "--trainer.max_steps=3", "--help"]
    assert call("pretrain", *arguments).exit_code == 0
    assert seen == [arguments]


def test_pretrain_alone_says_what_to_do() -> None:
    result = call("pretrain")
    assert result.exit_code == 2
    assert "medlsam pretrain fit" in result.stderr


def test_weights_list() -> None:
    found = document(call("weights", "list", "--json"))
    assert list(found) == list(ENTRIES)
    assert found["sam_vit_b"]["kind"] == "segmenter"
    assert "medlam-tiny" in call("weights", "list").stdout


def test_weights_verify_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    result = call("weights", "verify", tmp_path / "mine.pth", "--json")
    assert result.exit_code == 1
    assert document(result)["files"][0]["state"] == "unknown"
    assert call("weights", "verify", tmp_path / "none.pth").exit_code == 2


def test_weights_download_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path))
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    result = call("weights", "download", "sam_vit_b")
    assert result.exit_code == 2
    assert "MEDLSAM_OFFLINE is set" in result.stderr


def test_info() -> None:
    found = document(call("info", "--json"))
    assert {"medlsam", "python", "libraries", "device", "weights"} <= set(found)
    assert found["libraries"]["torch"]
    assert set(found["weights"]) == set(ENTRIES)
    assert "medlsam" in call("info").stdout


def test_markup_in_a_message_is_shown_as_it_is(asked: Any, scans: Path, tmp_path: Path) -> None:
    result = call("segment", *usual(Path("[bold]x.medlsam"), scans, tmp_path / "out"))
    assert "[bold]x.medlsam" in result.stderr
