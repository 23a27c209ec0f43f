"""A second run skips what is done and unchanged; failures, interrupts and kills leave a folder to go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.batch import Progress
from medlsam.batch.task import Run, ScanResult
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions, option_fields
from medlsam.pipeline.model import MedLSAM
from tests.support.batch_runs import GRID, everything, passes, read, rows, segment
from tests.support.fakes.stub_model import (
    draw_ct,
    template_set,
)
from tests.support.paths import ROOT
from tests.test_options import OF_LOCALIZATION, OTHER, WITHOUT_EFFECT


def test_a_second_run_skips_what_is_done(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    before, table, calls = everything(output), rows(output), passes(model)
    fresh = MedLSAM(model.localizer, model.segmenter)
    told: list[Progress] = []
    result = segment(fresh, scans, output, on_progress=told.append)
    assert (result.done, result.skipped) == ((), ("a", "b", "c"))
    assert everything(output) == before
    assert rows(output) == table
    assert passes(model) == calls
    assert [(p.case, p.status, p.finished, p.total) for p in told] == [
        ("a", "skipped", 1, 3),
        ("b", "skipped", 2, 3),
        ("c", "skipped", 3, 3),
    ]
    assert {case["status"] for case in read(output / "run.json")["cases"].values()} == {"done"}


def test_a_changed_or_lost_scan_is_done_again(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    write_volume(draw_ct(GRID, without=["block"]), scans / "b_0000.nii.gz")
    (output / "c" / "segmentation.nii.gz").unlink()
    result = segment(model, scans, output)
    assert (result.done, result.skipped) == (("b", "c"), ("a",))
    assert set(np.unique(read_label_map(output / "b" / "segmentation.nii.gz").array)) == {0, 7}


@pytest.mark.parametrize(
    "change",
    [
        {"options": InferenceOptions.of(prompts="wpl")},
        {"options": InferenceOptions.of(threshold=0.4)},
        {"options": InferenceOptions.of(organs=("block",))},
        {"templates": template_set(shift=1.0)},
        {"overwrite": True},
    ],
)
def test_what_matters_makes_it_do_all_again(
    model: MedLSAM, scans: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    segment(model, scans, tmp_path / "out")
    assert segment(model, scans, tmp_path / "out", **change).done == ("a", "b", "c")


@pytest.mark.parametrize("name", list(option_fields()))
@pytest.mark.parametrize("command", ["segment", "localize"])
def test_the_fingerprint_of_a_run_counts_what_the_options_say(
    model: MedLSAM, command: Any, name: str
) -> None:
    def shared(options: InferenceOptions) -> str:
        run = Run(command, model, template_set(), options, lambda *_: ScanResult())
        return run.shared(run.description())

    plain = InferenceOptions.of(localizer="published") if name == "weights" else InferenceOptions()
    counts = OF_LOCALIZATION if command == "localize" else set(OTHER) - WITHOUT_EFFECT
    assert (shared(plain.replace(**{name: OTHER[name]})) != shared(plain)) == (name in counts)


def test_the_precision_of_the_model_counts_whatever_the_options_name(
    model: MedLSAM, scans: Path, tmp_path: Path
) -> None:
    segment(model, scans, tmp_path / "out")
    exact = MedLSAM(model.localizer, model.segmenter, InferenceOptions.of(precision="float32"))
    result = segment(exact, scans, tmp_path / "out", options=InferenceOptions.of(precision="bfloat16"))
    assert result.done == ("a", "b", "c")
    assert read(tmp_path / "out" / "run.json")["options"]["precision"] == "float32"


def test_other_weights_do_all_again_another_device_does_not(
    model: MedLSAM, scans: Path, tmp_path: Path
) -> None:
    segment(model, scans, tmp_path / "out")
    assert segment(model, scans, tmp_path / "out", options=InferenceOptions.of(device="cpu")).done == ()
    other = stub_model_with(model, "ee" * 32)
    assert segment(other, scans, tmp_path / "out").done == ("a", "b", "c")


def stub_model_with(model: MedLSAM, signature: str) -> MedLSAM:
    segmenter = type(model.segmenter)(signature=signature)  # type: ignore[call-arg]
    return MedLSAM(model.localizer, segmenter)


def test_a_failing_scan_does_not_stop_the_others(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (scans / "b_0000.nii.gz").write_bytes(b"this is no image")
    told: list[Progress] = []
    result = segment(model, scans, output, on_progress=told.append)
    assert result.exit_code == 1
    assert result.done == ("a", "c")
    assert list(result.failed) == ["b"]
    assert "VolumeError" in result.failed["b"]
    assert not (output / "b").exists()
    assert not [f for f in output.iterdir() if f.name.startswith(".")]
    case = read(output / "run.json")["cases"]["b"]
    assert case["status"] == "failed"
    assert case["error"]["type"] == "VolumeError"
    assert "b_0000.nii.gz" in case["error"]["text"]
    assert "traceback" not in case["error"]
    assert {row["case"] for row in rows(output)} == {"a", "c"}
    assert [(p.case, p.status) for p in told if p.status != "running"] == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "done"),
    ]
    write_volume(draw_ct(GRID), scans / "b_0000.nii.gz")
    again = segment(model, scans, output)
    assert (again.done, again.skipped, again.exit_code) == (("b",), ("a", "c"), 0)


def failing(model: MedLSAM, case: str, error: BaseException) -> MedLSAM:
    """The model, but one scan ends in an error, after its label map was made."""
    segment_scan = MedLSAM.segment

    class Failing(MedLSAM):
        def segment(self, *args: Any, **more: Any) -> Any:
            found = segment_scan(self, *args, **more)
            if found.case == case:
                raise error
            return found

    return Failing(model.localizer, model.segmenter)


def test_an_unforeseen_error_is_recorded_with_its_place(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    result = segment(failing(model, "b", ZeroDivisionError("1/0")), scans, tmp_path / "out")
    assert result.failed == {"b": "ZeroDivisionError: 1/0"}
    error = read(tmp_path / "out" / "run.json")["cases"]["b"]["error"]
    assert "test_resume.py" in error["traceback"]


def test_an_outdated_result_does_not_outlive_its_failure(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    (output / "b" / "my notes.txt").write_text("keep")
    (output / "c" / "corrected.nii.gz").write_text("keep")
    segment(failing(model, "b", ValueError("no")), scans, output, overwrite=True)
    assert [f.name for f in (output / "b").iterdir()] == ["my notes.txt"]
    # files that somebody put beside a result stay when it is made again
    assert (output / "c" / "corrected.nii.gz").read_text() == "keep"
    assert (output / "c" / "segmentation.nii.gz").is_file()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_leaves_what_is_finished(
    model: MedLSAM, scans: Path, tmp_path: Path, error: BaseException
) -> None:
    output = tmp_path / "out"
    with pytest.raises(type(error)):
        segment(failing(model, "b", error), scans, output)
    assert sorted(f.name for f in output.iterdir() if f.is_dir()) == ["a"]
    run = read(output / "run.json")
    assert list(run["cases"]) == ["a"]
    assert run["finished"] is None
    assert {row["case"] for row in rows(output)} == {"a"}
    result = segment(model, scans, output)
    assert (result.done, result.skipped) == (("b", "c"), ("a",))
    assert read(output / "run.json")["finished"] is not None


KILLED = """
import sys, time
from pathlib import Path
import medlsam.batch.api as api
from tests.support.fakes.stub_model import stub_model, template_set

write = api.write_json
def hang(path, data):
    if path.parent.name == ".b.partial":
        Path(sys.argv[3]).touch()
        time.sleep(60)
    write(path, data)
api.write_json = hang
api.segment_folder(stub_model(), template_set(), sys.argv[1], sys.argv[2], report=False)
"""


def test_a_kill_in_the_middle_of_writing(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output, reached = tmp_path / "out", tmp_path / "reached"
    command = [sys.executable, "-c", KILLED, str(scans), str(output), str(reached)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 240  # a busy machine takes long to import torch
        while not reached.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert reached.exists()
        process.send_signal(signal.SIGKILL)
    assert (output / ".b.partial" / "segmentation.nii.gz").is_file()
    assert not (output / "b").exists()
    result = segment(model, scans, output)
    assert (result.done, result.skipped) == (("b", "c"), ("a",))
    assert sorted(f.name for f in output.iterdir() if f.is_dir()) == ["a", "b", "c"]
    assert {row["case"] for row in rows(output)} == {"a", "b", "c"}


def test_a_damaged_marker_means_not_done(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    (output / "a" / ".done.json").write_text('{"fingerprint": ')
    (output / "b" / ".done.json").write_text("[]")
    assert segment(model, scans, output).done == ("a", "b")


def test_runs_over_other_scans_add_up(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans / "a_0000.nii.gz", output)
    result = segment(model, scans / "b_0000.nii.gz", output)
    assert result.done == ("b",)
    assert set(read(output / "run.json")["cases"]) == {"a", "b"}
    assert {row["case"] for row in rows(output)} == {"a", "b"}
    other = segment(model, scans / "c_0000.nii.gz", output, options=InferenceOptions.of(prompts="wpl"))
    assert "2 cases in this folder were made with other options" in other.warnings[0]
    assert set(read(output / "run.json")["cases"]) == {"c"}
    assert {row["case"] for row in rows(output)} == {"c"}


def test_what_killed_runs_kept_for_themselves_goes_with_the_next(
    model: MedLSAM, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment(model, scans / "a_0000.nii.gz", output)
    (output / ".run-0123456789ab").mkdir()
    (output / ".run-0123456789ab" / "job").write_text("x")
    (output / ".tmp-half.json").write_text("{")
    # A shard may have neighbours at work, whose folder that is.
    segment(model, scans, output, shard="1/2")
    assert (output / ".run-0123456789ab" / "job").exists()
    segment(model, scans, output)
    assert not [file.name for file in output.iterdir() if file.name.startswith(".")]
