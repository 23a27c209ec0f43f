"""Distillation from scans without labels to a segmenter file, and its command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.errors import MedlsamError, UsageError
from medlsam.runtime.atomic_files import sha256_of
from medlsam.segment.distill import run as module
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.run import distill
from medlsam.segment.finetune.run import finetune
from medlsam.segment.load import load_segmenter
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.volume import Image
from tests.support.data.tuning_data import SMALL, write_cases
from tests.support.fakes.fake_teacher import FakeTeacher

OPTIONS = DistillOptions(
    steps=60,
    batch_size=8,
    learning_rate=2e-3,
    warmup_steps=5,
    ema=0.9,
    slices_per_scan=3,
    prompts_per_slice=5,
)
SHORT = DistillOptions(**{**vars(OPTIONS), "steps": 2, "batch_size": 2})


def teach(scans: Path, output: Path, start: Path, **changed: Any) -> module.Distilled:
    settings: dict[str, Any] = {
        "teacher": FakeTeacher(),
        "segmenter": start,
        "options": SHORT,
        "device": "cpu",
    }
    return distill(scans, output, **settings | changed)


def test_the_student_learns_the_teachers_masks(scans: Path, start: Path, tmp_path: Path) -> None:
    output, told = tmp_path / "new" / "student.safetensors", []
    done = teach(scans, output, start, options=OPTIONS, held_out=["body_3", "body_4"], on_note=told.append)
    assert done.better
    for figures in (done.exact, done.jittered):
        assert figures.n == 2
        assert figures.before[0] < 0.4
        assert figures.after[0] > 0.75
    loaded = load_segmenter(output, "cpu")
    assert isinstance(loaded, TinySegmenter)
    assert loaded.config == SMALL
    # what it does with a new prompt, as in use
    image = module.to_canonical(module.read_case(module.find_cases(scans / "body_4.nii.gz")[0]))
    z = 2
    bright = image.array[z] > 60
    rows, columns = np.flatnonzero(bright[:26, :31].any(axis=1)), np.flatnonzero(bright[:26, :31].any(axis=0))
    box = (columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5)
    block = loaded.segment(image, {"thing": [SlicePrompt(z, box, error_mm=0.0)]})["thing"]
    plane = block.window(z, (0, 0, 31, 26))
    assert plane is not None
    found = plane >= 0.5
    assert 2 * (found & bright[:26, :31]).sum() / (found.sum() + bright[:26, :31].sum()) > 0.8
    assert any("masks of 5 scans to learn from; dropped:" in text for text in told)
    assert any(text.startswith("fake takes") for text in told)


def test_the_record_tells_how_the_file_came_about(scans: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / "student.safetensors"
    done = teach(scans, output, start, held_out=["body_0"], patients={"body_1": "x", "body_2": "x"})
    told = json.loads((tmp_path / "student.safetensors.history.json").read_text())
    assert told == {"format": "distillation 1", **done.record}
    assert told["sha256"] == sha256_of(output)
    assert told["began_with"]["sha256"] == sha256_of(start)
    assert set(told["held_out"]) == {"body_0"}
    assert told["trained_on"]["body_2"]["patient"] == "x"
    assert told["options"]["steps"] == 2
    counted = sum(own["masks"] for side in ("trained_on", "held_out") for own in told[side].values())
    assert told["masks"]["kept"] == counted
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "student.safetensors",
        "student.safetensors.history.json",
        "student.safetensors.teacher",
    ]
    assert {p.suffix for p in done.cache.iterdir()} == {".safetensors"}  # no checkpoint is left


def test_the_same_call_gives_the_same_file(scans: Path, start: Path, tmp_path: Path) -> None:
    first = teach(scans, tmp_path / "a.safetensors", start)
    teacher = FakeTeacher()
    again = teach(scans, tmp_path / "b.safetensors", start, teacher=teacher, cache=first.cache)
    assert first.path.read_bytes() == again.path.read_bytes()
    assert teacher.seen == 0  # its masks were kept


def test_a_killed_run_goes_on_where_the_teacher_was(scans: Path, start: Path, tmp_path: Path) -> None:
    class Dying(FakeTeacher):
        def encode(self, slice_hu: Any) -> torch.Tensor:
            if self.seen == 7:
                raise KeyboardInterrupt
            return super().encode(slice_hu)

    output, whole = tmp_path / "a.safetensors", FakeTeacher()
    teach(scans, tmp_path / "whole.safetensors", start, teacher=whole)
    with pytest.raises(KeyboardInterrupt):
        teach(scans, output, start, teacher=Dying())
    assert not output.exists()
    rest = FakeTeacher()
    teach(scans, output, start, teacher=rest)
    assert rest.seen == whole.seen - 6  # two scans of three slices were kept
    assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_located_structures_are_prompts_too(scans: Path, start: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def located(name: str, image: Image) -> list[SlicePrompt]:
        asked.append(name)
        return [SlicePrompt(2, (8.5, 9.5, 29.5, 27.5))]

    with_boxes = teach(scans, tmp_path / "a.safetensors", start, located=located)
    assert asked == [f"body_{k}" for k in range(5)]
    without = teach(scans, tmp_path / "b.safetensors", start)
    assert with_boxes.path.read_bytes() != without.path.read_bytes()


def test_a_scan_that_cannot_be_used_is_left_out(scans: Path, start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    (folder / "broken.nii.gz").write_bytes((folder / "body_0.nii.gz").read_bytes()[:300])
    told: list[str] = []
    done = teach(folder, tmp_path / "a.safetensors", start, on_note=told.append)
    assert set(done.failed) == {"broken"}
    assert any(text.startswith("left out: broken: ") for text in told)
    assert set(done.record["trained_on"]) | set(done.record["held_out"]) == {f"body_{k}" for k in range(5)}
    assert done.record["failed"] == dict(done.failed)


def test_a_student_that_is_no_better_is_written_with_the_word(
    scans: Path, start: Path, tmp_path: Path
) -> None:
    """Two steps that are far too large spoil a student that had learned: the file is there, and says so."""
    first = teach(scans, tmp_path / "a.safetensors", start, options=OPTIONS)
    options = DistillOptions(**{**vars(SHORT), "learning_rate": 0.3, "ema": 0.0})
    again = teach(scans, tmp_path / "b.safetensors", first.path, options=options, cache=first.cache)
    assert not again.better
    assert again.record["better"] is False
    assert again.path.exists()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"output": "a.pth"}, "name it .*safetensors"),
        ({"output": "there.safetensors"}, "exists; begin anew with --overwrite"),
        ({"teacher": "sam-tiny"}, "encodes crops, not whole slices"),
        ({"teacher": "sam_vit_b", "teacher_weights": "none.pth"}, "none.pth"),
        ({"segmenter": "none.safetensors"}, "none.safetensors"),
        ({"segmenter": "sam_vit_b"}, "the student is a sam-tiny, sam_vit_b cannot be one"),
        ({"cases": ["body_0"]}, "needs scans of two patients"),
        ({"cases": ["body_9"]}, "cases: there is no scan 'body_9'"),
        ({"held_out": ["body_9"]}, "held_out: there is no scan 'body_9'"),
        ({"patients": {"body_9": "x"}}, "names none of the scans"),
        ({"patients": dict.fromkeys([f"body_{k}" for k in range(5)], "x")}, "needs scans of two patients"),
        (
            {"teacher": FakeTeacher(quality=0.2)},
            "no scan has a mask that can be learned .*low IoU.*lower --min-iou",
        ),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
    ],
)
def test_wrong_calls_write_no_weights(
    scans: Path, start: Path, tmp_path: Path, changed: dict[str, Any], text: str
) -> None:
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"mine")
    output = tmp_path / changed.pop("output", "student.safetensors")
    with pytest.raises(MedlsamError, match=text):
        teach(scans, output, start, **changed)
    assert there.read_bytes() == b"mine"
    assert output == there or not output.exists()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"steps": 0}, "steps must be 1 or more"),
        ({"steps": 1.5}, "steps: a whole number is needed"),
        ({"exact": 1.5}, "exact must lie between 0 and 1"),
        ({"held_out_share": 1.0}, "held_out_share must lie between 0 and 1, without them"),
        ({"learning_rate": 0}, "learning_rate must be more than 0"),
        ({"ema": 1}, "ema must be 0 or more and less than 1"),
        ({"min_iou": -0.5}, "min_iou must be -1, or lie between 0 and 1"),
    ],
)
def test_options_are_checked(changed: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        DistillOptions(**changed)


def test_finetuning_does_not_take_the_file_for_a_cycle_of_its_own(
    scans: Path, start: Path, tmp_path: Path
) -> None:
    teach(scans, tmp_path / "a.safetensors", start)
    data = write_cases(tmp_path / "data", [1, 2, 8])
    with pytest.raises(UsageError, match="not a history of `medlsam finetune`"):
        finetune(data, tmp_path / "a.safetensors", cycle=True, held_out=["egg_8"], segmenter=start)


# the command


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_teacher", lambda name, weights, device: FakeTeacher())


@pytest.mark.usefixtures("fake")
def test_the_command_prints_one_document(scans: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / "student.safetensors"
    result = call(
        *("finetune", scans, "--teacher", "sam_vit_b", "--output", output, "--segmenter", start),
        *("--steps", 3, "--batch-size", 2, "--slices-per-scan", 2, "--device", "cpu", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["file"] == str(output)
    assert document["options"]["steps"] == 3
    assert document["options"]["batch_size"] == 2
    assert document["options"]["learning_rate"] == 1e-4  # not that of fine-tuning on labels
    words = result.stderr.replace("\n", " ")
    assert f"--segmenter {output}" in words
    assert "dropped:" in words
    assert "takes" in words


@pytest.mark.usefixtures("fake")
def test_the_command_says_what_failed_and_what_is_no_better(scans: Path, start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    (folder / "broken.nii.gz").write_bytes(b"nothing")
    result = call(
        *("finetune", folder, "--teacher", "sam_vit_b", "--output", tmp_path / "a.safetensors"),
        *("--segmenter", start, "--steps", 1, "--learning-rate", 1e-12, "--slices-per-scan", 2, "--ema", 0),
        *("--device", "cpu", "--batch-size", 2),
    )
    assert result.exit_code == 1, result.stderr
    words = result.stderr.replace("\n", " ")
    assert "left out: broken" in words
    assert "agrees no better with the teacher" in words
    assert "exact boxes" in result.stdout
    assert "jittered boxes" in result.stdout
    assert (tmp_path / "a.safetensors").exists()


@pytest.mark.usefixtures("fake")
def test_quiet_says_what_failed_and_nothing_else(scans: Path, start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    shutil.copytree(scans, folder)
    (folder / "broken.nii.gz").write_bytes(b"nothing")
    result = call(
        *("finetune", folder, "--teacher", "sam_vit_b", "--output", tmp_path / "a.safetensors", "--quiet"),
        *("--segmenter", start, "--steps", 1, "--batch-size", 1, "--slices-per-scan", 1, "--device", "cpu"),
    )
    assert result.exit_code == 1, result.stderr
    assert result.stderr.startswith("failed: broken: ")
    assert "dropped" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--teacher", "sam_vit_b", "--cycle"], "--cycle goes only with labels"),
        (
            ["--teacher", "sam_vit_b", "--epochs", "3", "--views", "2"],
            "--epochs, --views go only with labels",
        ),
        (["--teacher", "sam_vit_b", "--organs", "liver"], "--organs goes only with labels.*of --support"),
        (["--steps", "3"], "--steps goes only with --teacher"),
        (["--teacher-weights", "x.pth"], "--teacher-weights goes only with --teacher"),
        (["--teacher", "sam_vit_b", "--steps", "0"], "steps must be 1 or more"),
        (["--teacher", "sam-tiny"], "encodes crops"),
    ],
)
def test_wrong_calls_of_the_command_are_2(scans: Path, tmp_path: Path, flags: list[str], text: str) -> None:
    result = call("finetune", scans, "--output", tmp_path / "a.safetensors", "--json", *flags)
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "UsageError"
    assert re.search(text, error["text"]), error["text"]
    assert list(tmp_path.iterdir()) == []
