"""The scripted module of 3D Slicer, with a fake Slicer and a fake program: what it calls, loads, saves and says."""

from __future__ import annotations

import ast
import importlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from medlsam.cli import app
from medlsam.io.slicer_markups import read_boxes
from tests.support.fakes.fake_slicer import Scene, fake_modules
from tests.support.paths import ROOT

MODULE = ROOT / "integrations" / "slicer" / "MedLSAM"
ROI = {"type": "ROI", "coordinateSystem": "LPS", "roiType": "Box", "center": [1, 2, 3], "size": [4, 4, 4]}

#: Does as ``medlsam segment`` does, and keeps what it was called with.
PROGRAM = """#!{python}
import json, pathlib, shutil, sys
words = sys.argv[1:]
given = dict(zip(words[1::2], words[2::2]))
output = pathlib.Path(given["--output"])
case = output / "scan"
case.mkdir(parents=True)
(pathlib.Path(__file__).parent / "called.json").write_text(json.dumps(words))
if "--boxes" in given:
    source = pathlib.Path(given["--boxes"])
    shutil.copy(source, pathlib.Path(__file__).parent / "boxes.json")
assert pathlib.Path(given["--images"]).read_bytes() == b"a volume"
print("working", flush=True)
organs = {{"liver": {{"status": "found"}}, "spleen": {{"status": "out_of_view"}}}}
(case / "localization.json").write_text(json.dumps({{"organs": organs}}))
(case / "segmentation.nii.gz").write_bytes(b"")
roi = {roi} | {{"name": "liver"}}
(case / "boxes.mrk.json").write_text(json.dumps({{"markups": [roi]}}))
failed = given.get("--device") == "mps"
error = {{"type": "VolumeError", "text": "scan.nii.gz: not CT in HU"}} if failed else None
record = {{"status": "failed" if failed else "done", "error": error, "warnings": ["a slice is missing"]}}
run = {{"templates": {{"organs": ["liver", "spleen"]}}, "warnings": [], "cases": {{"scan": record}}}}
(output / "run.json").write_text(json.dumps(run))
sys.exit(1 if failed else 0)
"""


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    made, modules = fake_modules()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(MODULE))
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if name == "MedLSAM" or name.startswith("medlsam_slicer"):
            del sys.modules[name]


@pytest.fixture
def module(scene: Scene) -> ModuleType:
    return importlib.import_module("MedLSAM")


@pytest.fixture
def command(module: ModuleType) -> Any:
    return module.command


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "bin" / "medlsam"
    path.parent.mkdir()
    path.write_text(PROGRAM.format(python=sys.executable, roi=ROI))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path


@pytest.fixture
def support(tmp_path: Path) -> str:
    (tmp_path / "organs.medlsam").touch()
    return str(tmp_path / "organs.medlsam")


def finish(logic: Any) -> Any:
    deadline = time.monotonic() + 60
    while (code := logic.poll()[1]) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return logic.load(code)


def called(program: Path) -> list[str]:
    return list(json.loads((program.parent / "called.json").read_text()))


def test_the_command_has_flags_that_exist(command: Any, support: str) -> None:
    words = command.segment_command(
        "medlsam", support, "scan.nii.gz", "out", structures=["liver", "left kidney"], device="cpu", boxes="b"
    )
    assert words[:2] == ["medlsam", "segment"]
    assert words[words.index("--organs") + 1] == "liver,left kidney"
    segment: Any = typer.main.get_command(app)
    known = {flag for param in segment.commands["segment"].params for flag in param.opts}
    # `--format` comes with the exports.
    assert {word for word in words if word.startswith("--")} <= known | {"--format"}


def test_the_command_without_choices(command: Any, support: str) -> None:
    words = command.segment_command("medlsam", support, Path("scan.nii.gz"), Path("out"))
    assert "--organs" not in words
    assert "--boxes" not in words
    for wrong, told in (("  ", "Choose the templates"), ("nowhere.medlsam", "are not there")):
        with pytest.raises(command.CommandError, match=told):
            command.segment_command("medlsam", wrong, "scan.nii.gz", "out")


def test_the_program_is_chosen_or_on_path(
    command: Any, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.find_program(str(program)) == str(program)
    with pytest.raises(command.CommandError, match="'/nowhere/medlsam' was not found"):
        command.find_program("/nowhere/medlsam")
    monkeypatch.setenv("PATH", str(program.parent) + os.pathsep + os.environ["PATH"])
    assert command.find_program("") == str(program)


def test_names_between_commas(command: Any) -> None:
    assert command.split_names(" liver, left kidney,,") == ["liver", "left kidney"]
    assert command.split_names("  ") == []


@pytest.mark.parametrize(
    ("code", "lines", "words"),
    [
        (2, ["error: no templates there", ""], "error: no templates there"),
        (2, [], "exit code 2"),
        (-9, ["loading"], "loading"),
        (0, ["1 done"], "run.json cannot be read"),
    ],
)
def test_errors_of_the_program_are_told(
    command: Any, tmp_path: Path, code: int, lines: list[str], words: str
) -> None:
    with pytest.raises(command.CommandError, match=words):
        command.read_result(tmp_path, code, lines)


def test_boxes_are_put_together_with_their_names(command: Any, tmp_path: Path) -> None:
    saved = []
    for number, name in enumerate(("liver", "left kidney")):
        path = tmp_path / f"{number}.mrk.json"
        path.write_text(json.dumps({"@schema": "v1.0.3.json#", "markups": [ROI]}))
        saved.append((name, path))
    target = tmp_path / "boxes" / "scan" / "boxes.mrk.json"
    command.write_boxes(saved, target)
    assert set(read_boxes(target)) == {"liver", "left kidney"}
    assert json.loads(target.read_text())["@schema"] == "v1.0.3.json#"
    (tmp_path / "empty.mrk.json").write_text('{"markups": []}')
    for wrong, words in (
        ([*saved, saved[0]], "two boxes called liver"),
        ([], "no box to segment in"),
        ([("liver", tmp_path / "nowhere")], "could not be saved"),
        ([("liver", tmp_path / "empty.mrk.json")], "could not be saved"),
    ):
        with pytest.raises(command.CommandError, match=words):
            command.write_boxes(wrong, target)


def test_segment_then_again_in_the_moved_box(
    module: ModuleType, scene: Scene, program: Path, support: str
) -> None:
    logic = module.MedLSAMLogic()
    volume, other = (scene.add("vtkMRMLScalarVolumeNode", name) for name in ("CT", "another CT"))
    volume.transform = "a transform"
    words = logic.start(volume, support, structures=["liver"], device="cpu", program=str(program))
    result = finish(logic)
    assert called(program) == words[1:]
    assert words[words.index("--organs") + 1] == "liver"
    assert "working" in logic.running.lines
    assert logic.poll() == ([], 0)
    assert module.command.summary(result) == [
        "liver: found",
        "spleen: out of view",
        "Warning: a slice is missing",
    ]
    (segmentation,) = scene.of_class("vtkMRMLSegmentationNode")
    (roi,) = scene.of_class("vtkMRMLMarkupsROINode")
    assert (segmentation.name, segmentation.transform) == ("CT MedLSAM", "a transform")
    assert (roi.name, roi.transform, roi.attributes["MedLSAM.Volume"]) == ("liver", "a transform", volume.id)
    # The user moves the box and draws one more; other boxes have nothing to do with it.
    roi.content = {**ROI, "center": [9, 9, 9]}
    scene.add("vtkMRMLMarkupsROINode", "spleen", dict(ROI))
    scene.add("vtkMRMLMarkupsROINode", "crop", dict(ROI))
    scene.add("vtkMRMLMarkupsROINode", "liver", dict(ROI)).SetAttribute("MedLSAM.Volume", other.id)
    folder = Path(logic._folder)
    words = logic.start(volume, support, program=str(program), in_boxes=True)
    assert not folder.exists()
    finish(logic)
    assert words[words.index("--boxes") + 1].endswith("boxes.mrk.json")
    (program.parent / "boxes.json").rename(program.parent / "boxes.mrk.json")
    boxes = read_boxes(program.parent / "boxes.mrk.json")
    assert {name: box.center for name, box in boxes.items()} == {"liver": (9, 9, 9), "spleen": (1, 2, 3)}
    # The results of before are gone, what others made stays.
    assert len(scene.of_class("vtkMRMLSegmentationNode")) == 1
    names = sorted(node.name for node in scene.of_class("vtkMRMLMarkupsROINode"))
    assert names == ["crop", "liver", "liver", "spleen"]
    logic.close()
    assert logic.poll() == ([], None)


def test_a_scan_that_fails_keeps_what_was_loaded(
    module: ModuleType, scene: Scene, program: Path, support: str
) -> None:
    logic = module.MedLSAMLogic()
    volume = scene.add("vtkMRMLScalarVolumeNode", "CT")
    logic.start(volume, support, program=str(program))
    finish(logic)
    logic.start(volume, support, program=str(program), device="mps")
    with pytest.raises(module.command.CommandError, match="not CT in HU"):
        finish(logic)
    assert len(scene.of_class("vtkMRMLSegmentationNode")) == 1
    logic.close()


def test_the_panel(module: ModuleType, scene: Scene, program: Path, support: str) -> None:
    widget = module.MedLSAMWidget()
    widget.setup()
    widget.volume.currentNode = lambda: scene.add("vtkMRMLScalarVolumeNode", "CT")
    widget.support.currentPath, widget.program.currentPath = support, "/nowhere/medlsam"
    widget.structures.text, widget.device.currentText = "", "cpu"
    widget.on_segment()
    assert len(scene.errors) == 1
    assert "was not found" in scene.errors[0]
    widget.program.currentPath = str(program)
    widget.on_segment()
    assert widget.cancel.enabled
    deadline = time.monotonic() + 60
    while widget.cancel.enabled and time.monotonic() < deadline:
        widget.on_timer()
        time.sleep(0.01)
    told = [call.args[0] for call in widget.log.appendPlainText.call_args_list]
    assert told[1:] == ["working", "liver: found", "spleen: out of view", "Warning: a slice is missing"]
    assert scene.errors == scene.errors[:1]
    widget.cleanup()


def test_a_run_can_be_cancelled(command: Any) -> None:
    words = [sys.executable, "-c", "import time; print('busy', flush=True); time.sleep(60)"]
    run = command.Run(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
    deadline = time.monotonic() + 30
    while not run.lines and time.monotonic() < deadline:
        run.poll()
        time.sleep(0.01)
    run.cancel()
    while (code := run.poll()[1]) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.lines == ["busy"]
    assert code not in (None, 0)


def test_slicers_own_test_passes(module: ModuleType, scene: Scene) -> None:
    module.MedLSAMTest().runTest()


def test_it_is_what_slicer_looks_for() -> None:
    # Slicer takes every file beside the module for a module, and looks for classes that are called after it.
    assert [path.name for path in MODULE.glob("*.py")] == ["MedLSAM.py"]
    for path in MODULE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
        imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        for node in ast.walk(tree):
            imported |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        assert "medlsam" not in {name.split(".")[0] for name in imported}, path
    names = {
        node.name
        for node in ast.parse((MODULE / "MedLSAM.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    assert names == {"MedLSAM", "MedLSAMWidget", "MedLSAMLogic", "MedLSAMTest"}
