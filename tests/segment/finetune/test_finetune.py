"""Fine-tuning from labelled folders to a segmenter file, in cycles, and its command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import medlsam
from medlsam.cli import app
from medlsam.errors import MedlsamError, UsageError
from medlsam.runtime.atomic_files import sha256_of
from medlsam.segment.finetune import run as module
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.score import Scores
from medlsam.segment.finetune.train import Selection
from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.checkpoint import tuned_spec
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.weights.checkpoint import read_state_dict
from tests.support.data.tuning_data import (
    SMALL,
    small_sam,
    write_case,
    write_cases,
    write_tiny,
)

QUICK = FinetuneOptions(epochs=2, batch_size=4, learning_rate=1e-3, views=2)
HELD_OUT = ["egg_8", "egg_9"]


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "start.safetensors")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "data", [1, 2, 8, 9])


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What cycles are judged by is given: ``next`` holds Dice before and after of each comparison.

    So is the number of epochs, which spares the folds.
    """
    told: dict[str, list[float]] = {"next": []}

    def score(segmenter: Any, scans: Any) -> Scores:
        value = told["next"].pop(0)
        figures = {scan.patient: value + 0.01 * k for k, scan in enumerate(scans)}
        return Scores(figures, {(p, "egg", 1, 0): v for p, v in figures.items()})

    def select(tuner: Any, scans: Any, *others: Any) -> Selection:
        return Selection(1, (0.1, 0.2), {scan.patient: (0.1, 0.2) for scan in scans})

    monkeypatch.setattr(module, "score", score)
    monkeypatch.setattr(module, "select_epochs", select)
    return told


def tune(data: Path, output: Path, start: Path, **changed: Any) -> module.Finetuned:
    settings: dict[str, Any] = {"segmenter": start, "held_out": HELD_OUT, "options": QUICK, "device": "cpu"}
    return medlsam.finetune(data, output, **settings | changed)


def history(output: Path) -> Any:
    return json.loads(output.with_name(f"{output.name}.history.json").read_text())


def test_a_tuned_file_is_a_segmenter(data: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "tuned.safetensors"
    told: list[str] = []
    done = tune(
        data,
        output,
        start,
        options=FinetuneOptions(epochs=9, learning_rate=1e-2, batch_size=1, views=2),
        on_progress=told.append,
    )
    assert done.replaced
    assert done.selection.epochs > 0
    loaded, before = load_segmenter(output, "cpu"), load_segmenter(start, "cpu")
    assert isinstance(loaded, TinySegmenter)
    assert isinstance(before, TinySegmenter)
    assert loaded.config == SMALL
    old, new = before.net.state_dict(), loaded.net.state_dict()
    assert {key.split(".")[0] for key in new if not torch.equal(new[key], old[key])} == {"decoder"}
    assert done.held_out is not None
    assert done.held_out.patients.n == 2
    assert done.held_out.components.n == 6
    assert done.held_out.patients.after[0] > done.held_out.patients.before[0] + 0.1  # it learned
    assert [text for text in told if text.startswith("fold")] == [
        "fold 1 of 2, without egg_1",
        "fold 2 of 2, without egg_2",
    ]
    assert sorted(p.name for p in output.parent.iterdir()) == [
        "tuned.safetensors",
        "tuned.safetensors.history.json",
    ]
    assert output.stat().st_mode & 0o044  # as readable as any other result


def test_the_history_tells_how_the_file_came_about(data: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / "tuned.safetensors"
    done = tune(data, output, start)
    told = history(output)
    assert told["original"] == sha256_of(start)
    assert told["current"] == sha256_of(output)
    (cycle,) = told["cycles"]
    assert cycle == done.record
    assert set(cycle["trained_on"]) == {"egg_1", "egg_2"}
    assert cycle["held_out"]["cases"] == HELD_OUT
    assert cycle["held_out"]["against"] == "original"
    assert set(cycle["held_out"]["by_patient"]) == set(HELD_OUT)
    assert len(cycle["left_out"]["curve"]) == 3
    assert cycle["components"] == 6
    assert cycle["options"]["learning_rate"] == 1e-3


def test_nobody_held_out(data: Path, start: Path, tmp_path: Path) -> None:
    done = tune(data, tmp_path / "tuned.safetensors", start, held_out=None)
    assert done.replaced
    assert done.held_out is None
    assert done.record["held_out"] is None
    assert len(done.selection.patients) == 4


def test_a_cycle_replaces_what_it_betters(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]]
) -> None:
    output = tmp_path / "tuned.safetensors"
    judged["next"].extend([0.5, 0.6])
    assert tune(data, output, start, cycle=True).cycle == 1
    first = output.read_bytes()
    write_case(data, "egg_3", 3)  # a mask was added
    write_case(data, "egg_1", 1, radius=6)  # and one corrected
    judged["next"].extend([0.6, 0.7])
    done = tune(data, output, start, cycle=True)
    assert (done.cycle, done.replaced, done.new) == (2, True, ("egg_1", "egg_3"))
    assert done.held_out is not None
    assert done.held_out.against == "previous"
    assert output.read_bytes() != first
    assert [cycle["replaced"] for cycle in history(output)["cycles"]] == [True, True]
    assert history(output)["current"] == sha256_of(output)


@pytest.mark.parametrize("after", [0.55, 0.6])
def test_a_cycle_that_is_not_better_changes_nothing(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]], after: float
) -> None:
    output = tmp_path / "tuned.safetensors"
    judged["next"].extend([0.5, 0.6])
    tune(data, output, start)
    first = output.read_bytes()
    write_case(data, "egg_3", 3)
    judged["next"].extend([0.6, after])
    assert not tune(data, output, start, cycle=True).replaced
    assert output.read_bytes() == first
    told = history(output)
    assert told["current"] == sha256_of(output)
    assert "sha256" not in told["cycles"][1]


def test_a_first_cycle_that_is_worse_writes_no_file(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]]
) -> None:
    output = tmp_path / "tuned.safetensors"
    judged["next"].extend([0.6, 0.5])
    assert not tune(data, output, start, cycle=True).replaced
    assert not output.exists()
    write_case(data, "egg_3", 3)
    judged["next"].extend([0.6, 0.7])
    done = tune(data, output, start, cycle=True)
    assert (done.cycle, done.replaced) == (2, True)
    assert done.held_out is not None
    assert done.held_out.against == "original"


def test_every_cycle_starts_from_the_original_weights(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]]
) -> None:
    """The second cycle gives what the same scans would have given at once."""
    judged["next"].extend([0.5, 0.6] * 3)
    tune(data, tmp_path / "tuned.safetensors", start, cycle=True)
    write_case(data, "egg_3", 3)
    judged["next"][:2] = [0.5, 0.6]
    tune(data, tmp_path / "tuned.safetensors", start, cycle=True)
    tune(data, tmp_path / "at_once.safetensors", start)
    assert (tmp_path / "tuned.safetensors").read_bytes() == (tmp_path / "at_once.safetensors").read_bytes()


def test_nothing_new_is_no_cycle(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]]
) -> None:
    output = tmp_path / "tuned.safetensors"
    judged["next"].extend([0.5, 0.6])
    tune(data, output, start)
    with pytest.raises(UsageError, match="nothing is new since cycle 1"):
        tune(data, output, start, cycle=True)
    write_case(data, "egg_3", 3)
    with pytest.raises(UsageError, match="began with other weights"):
        tune(data, output, write_tiny(tmp_path / "other.safetensors", seed=1), cycle=True)
    with pytest.raises(UsageError, match="held_out: egg_1 was trained on in an earlier cycle"):
        tune(data, output, start, cycle=True, held_out=["egg_1"])
    output.write_bytes(start.read_bytes())
    with pytest.raises(UsageError, match="is not the file that tuned.safetensors.history.json tells of"):
        tune(data, output, start, cycle=True)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"cycle": True, "held_out": None}, "say which scans these are with --held-out"),
        ({"cycle": True, "overwrite": True}, "give one of them"),
        ({"held_out": ["egg_7"]}, "held_out: there is no labelled scan 'egg_7'"),
        ({"held_out": ["egg_1", "egg_8", "egg_9"]}, "needs two patients to train on"),
        ({"patients": {"egg_1": "x", "egg_8": "x"}}, "held_out: x would be trained on as well"),
        ({"output": "tuned.pth"}, "name it .*safetensors"),
        ({"output": "start.safetensors"}, "exists; go on from it with --cycle"),
        ({"output": "start.safetensors", "cycle": True}, "not known what it was trained on"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
    ],
)
def test_wrong_calls_write_nothing(
    data: Path, start: Path, tmp_path: Path, changed: dict[str, Any], text: str
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    output = tmp_path / changed.pop("output", "tuned.safetensors")
    with pytest.raises(MedlsamError, match=text):
        tune(data, output, start, **changed)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_sam_is_tuned_on_whole_slices(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the whole of ``finetune``, with SAM's own prompt encoder and decoder behind a small encoder."""

    def load(name_or_path: str | Path, device: Any) -> WholeSliceSegmenter:
        network = small_sam()
        if Path(name_or_path).exists():
            network.load_state_dict(read_state_dict(name_or_path, "a SAM"))
        return WholeSliceSegmenter(SamSlices(network, SEGMENTERS["sam_vit_b"], device), "original")

    monkeypatch.setattr(module, "load_segmenter", load)
    output = tmp_path / "sam_vit_b-eggs.safetensors"
    options = FinetuneOptions(epochs=1, slices=1, batch_size=2, learning_rate=1e-3)
    done = tune(data, output, Path("sam_vit_b"), options=options, overwrite=True)
    assert done.replaced
    old, new = small_sam().state_dict(), read_state_dict(output, "a SAM")
    assert old.keys() == new.keys()
    changed = {key.split(".")[0] for key in new if not torch.equal(new[key], old[key])}
    assert changed == ({"mask_decoder"} if done.selection.epochs else set())
    with pytest.raises(UsageError, match="must begin with it"):
        tune(data, tmp_path / "eggs.safetensors", Path("sam_vit_b"))


def test_a_sam_learns_in_the_window_that_is_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    class Seen(SamSlices):
        def encode(self, slice_hu: Any, window_hu: Any = None) -> Any:
            window = self.spec.in_window(window_hu).window
            shown.append((window.low, window.high))
            return super().encode(slice_hu, window_hu)

    monkeypatch.setattr(
        module,
        "load_segmenter",
        lambda name, device: WholeSliceSegmenter(Seen(small_sam(), SEGMENTERS["sam_vit_b"], device), "w"),
    )
    output = tmp_path / "sam_vit_b-eggs.safetensors"
    options = FinetuneOptions(epochs=1, slices=1, window="lung")
    done = tune(data, output, Path("sam_vit_b"), options=options, overwrite=True, held_out=None)
    assert set(shown) == {(-1200, 200)}
    assert done.record["options"]["window"] == (-1200, 200)
    spec = tuned_spec(output, SEGMENTERS["sam_vit_b"])
    assert (spec.window.low, spec.window.high, spec.windows) == (-1200, 200, ())


def test_sam_tiny_has_windows_of_its_own(data: Path, start: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="window: sam-tiny sees HU in windows of its own"):
        tune(data, tmp_path / "tuned.safetensors", start, options=FinetuneOptions(window="lung"))


def test_held_out_scans_may_lie_in_a_folder_of_their_own(data: Path, start: Path, tmp_path: Path) -> None:
    """As the test part of an nnU-Net dataset, whose patients ``cases.json`` names."""
    dataset = tmp_path / "Dataset001_Eggs"
    for name, part in (("egg_1", "Tr"), ("egg_7", "Tr"), ("egg_8", "Ts"), ("egg_9", "Ts")):
        write_case(tmp_path / "made", name, int(name[-1]))
        for kind, file in (("images", f"{name}_0000.nii.gz"), ("labels", f"{name}.nii.gz")):
            (dataset / f"{kind}{part}").mkdir(parents=True, exist_ok=True)
            source = tmp_path / "made" / name / f"{kind.removesuffix('s')}{'s' * (kind == 'labels')}.nii.gz"
            source.rename(dataset / f"{kind}{part}" / file)
    (dataset / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "egg": 1}}'
    )
    patients = {name: {"patient": number} for number, name in enumerate(("egg_1", "egg_7", "egg_8", "egg_9"))}
    patients["egg_9"] = patients["egg_8"]
    (dataset / "cases.json").write_text(json.dumps({"cases": patients}))
    output = tmp_path / "tuned.safetensors"
    done = tune(dataset, output, start, held_out=dataset, patients=dataset / "cases.json")
    assert done.held_out is not None
    assert done.held_out.by_patient.keys() == {"2"}
    assert list(done.record["trained_on"]) == ["egg_1", "egg_7"]
    patients["egg_7"] = patients["egg_8"]
    (dataset / "cases.json").write_text(json.dumps({"cases": patients}))
    with pytest.raises(UsageError, match="held_out: 2 would be trained on as well"):
        tune(dataset, output, start, held_out=dataset, patients=dataset / "cases.json", overwrite=True)


# the command


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_prints_one_document(data: Path, start: Path, tmp_path: Path) -> None:
    output = tmp_path / "tuned.safetensors"
    (tmp_path / "lists.json").write_text(json.dumps({"judge": HELD_OUT}))
    result = call(
        *("finetune", data, "--output", output, "--segmenter", start, "--device", "cpu", "--json"),
        *("--held-out", f"{tmp_path / 'lists.json'}:judge", "--epochs", 1, "--views", 1, "--organs", "egg"),
        *("--cache", tmp_path / "cache"),
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["file"] == str(output)
    assert document["options"]["epochs"] == 1
    assert document["held_out"]["patients"]["n"] == 2
    assert f"--segmenter {output}" in result.stderr.replace("\n", "")
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert call("segment", "--help").exit_code == 0


def test_the_command_prints_a_table(
    data: Path, start: Path, tmp_path: Path, judged: Mapping[str, list[float]]
) -> None:
    judged["next"].extend([0.6, 0.5])
    (tmp_path / "judge.json").write_text(json.dumps(HELD_OUT))
    result = call(
        *("finetune", data, "--output", tmp_path / "t.safetensors", "--segmenter", start, "--device", "cpu"),
        *("--held-out", tmp_path / "judge.json", "--epochs", 1, "--views", 1, "--cycle"),
    )
    assert result.exit_code == 0, result.stderr
    assert "held-out patients" in result.stdout
    assert "0.605 ±0.007" in result.stdout
    assert "not better than the original weights" in result.stderr.replace("\n", " ")
    judged["next"].extend([0.6, 0.5])
    result = call(
        *("finetune", data, "--output", tmp_path / "u.safetensors", "--segmenter", start, "--device", "cpu"),
        *("--held-out", tmp_path / "judge.json", "--epochs", 1, "--views", 1),
    )
    assert "the original weights are not worse" in result.stderr.replace("\n", " ")
    assert (tmp_path / "u.safetensors").exists()


def test_a_wrong_call_of_the_command_is_2(data: Path, start: Path, tmp_path: Path) -> None:
    result = call(
        "finetune", data, "--output", tmp_path / "t.safetensors", "--segmenter", start, "--cycle", "--json"
    )
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "UsageError"
    assert call("finetune", data, "--output", tmp_path / "t.safetensors", "--epochs", 0).exit_code == 2
