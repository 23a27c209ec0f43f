"""Many scans into a folder: its files, resuming, failing scans, and kills."""

from __future__ import annotations

import csv
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medlsam.batch import BatchResult, Progress, localize_folder, segment_folder
from medlsam.batch.task import Run, ScanResult
from medlsam.errors import TemplateError, UsageError, WeightsError
from medlsam.geometry import Grid
from medlsam.io.cases import Case
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions, option_fields
from medlsam.pipeline.model import MedLSAM
from medlsam.results import Localization
from tests.support.fakes.stub_model import (
    SIGNATURE,
    VALUES,
    draw_ct,
    stub_model,
    template_set,
    true_mask,
)
from tests.support.paths import ROOT
from tests.test_options import OF_LOCALIZATION, OTHER, WITHOUT_EFFECT

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MedLSAM:
    return stub_model(monkeypatch)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three scans; the second has no plate."""
    for number, name in enumerate(("a", "b", "c")):
        volume = draw_ct(GRID, without=["plate"] if name == "b" else [], seed=number)
        write_volume(volume, tmp_path / "scans" / f"{name}_0000.nii.gz")
    return tmp_path / "scans"


def segment(model: MedLSAM, scans: Any, output: Path, **more: Any) -> BatchResult:
    templates = more.pop("templates", None) or template_set()
    return segment_folder(model, templates, scans, output, **{"report": False} | more)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "statistics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(output: Path) -> dict[str, int]:
    """Each file's time of change, also of hidden ones, but for the summary."""
    files = [f for f in output.rglob("*") if f.is_file()]
    return {str(f.relative_to(output)): f.stat().st_mtime_ns for f in files if f.parent != output}


def passes(model: MedLSAM) -> int:
    return len(model.segmenter.calls)  # type: ignore[attr-defined]


def test_the_files_of_the_contract(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = segment(model, scans, output)
    assert (result.done, result.skipped, result.failed, result.exit_code) == (("a", "b", "c"), (), {}, 0)
    assert read(output / "labels.json") == {"1": "block", "7": "plate", "300": "ghost"}
    for name in ("a", "b", "c"):
        image = read_image(scans / f"{name}_0000.nii.gz")
        labels = read_label_map(output / name / "segmentation.nii.gz")
        assert labels.grid.matches(image.grid)
        for structure in ("block", "plate"):
            np.testing.assert_array_equal(labels.array == VALUES[structure], true_mask(image, structure))
        localization = read(output / name / "localization.json")
        assert localization["case"] == name
        assert set(Localization.from_dict(localization).structures) == set(VALUES)
    assert not [f for f in output.iterdir() if f.name.startswith(".")]


def test_run_json_and_statistics(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output, options=InferenceOptions.of(prompts="spl", margin_mm=2))
    run = read(output / "run.json")
    assert run["version"] == __import__("medlsam").__version__
    assert run["command"] == "segment"
    assert run["device"] == "cpu"
    assert run["options"]["prompts"] == "spl"
    assert run["options"]["margin_mm"] == 2
    assert run["weights"] == {
        "localizer": {"name": "stub", "sha256": SIGNATURE},
        "segmenter": {"name": "stub-segmenter", "sha256": "cd" * 32},
    }
    assert run["finished"] >= run["started"]
    assert set(run["cases"]) == {"a", "b", "c"}
    case = run["cases"]["b"]
    assert case["status"] == "done"
    assert case["error"] is None
    assert {"read", "embed", "locate", "encode", "decode", "write"} <= set(case["seconds"])
    found = {(row["case"], row["organ"]): row for row in rows(output)}
    assert len(found) == 9
    assert found["b", "plate"]["status"] == "missing"
    assert float(found["b", "plate"]["volume_ml"]) == 0
    assert float(found["a", "plate"]["volume_ml"]) == pytest.approx(585 * 0.0075, abs=1e-3)
    assert float(found["a", "plate"]["mean_hu"]) == 300


def test_another_policy_is_another_result_and_another_cache_is_not(
    model: MedLSAM, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    kept = InferenceOptions(cache=str(tmp_path / "kept"), cache_gb=1)
    assert segment(model, scans, output, options=kept).done == ()
    for policy in ({"components": "all"}, {"shrink": 0.9}, {"propagate": True}):
        result = segment(model, scans, output, options=InferenceOptions.of(**policy))
        assert result.done == ("a", "b", "c"), policy
        assert read(output / "run.json")["options"].items() >= policy.items()


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
    assert "test_batch.py" in error["traceback"]


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


def test_localize_needs_no_segmenter(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    bare = MedLSAM(
        model.localizer, options=InferenceOptions.of(segmenter=tmp_path / "no such weights.safetensors")
    )
    output = tmp_path / "out"
    assert localize_folder(bare, template_set(), scans, output).done == ("a", "b", "c")
    assert sorted(f.name for f in output.iterdir()) == ["a", "b", "c", "run.json"]
    assert read(output / "b" / "localization.json")["organs"]["plate"]["status"] == "missing"
    assert set(read(output / "run.json")["weights"]) == {"localizer"}
    assert localize_folder(bare, template_set(), scans, output).skipped == ("a", "b", "c")


def test_one_folder_holds_one_command(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    with pytest.raises(UsageError, match="holds what `medlsam segment` wrote"):
        localize_folder(model, template_set(), scans, output)
    localize_folder(model, template_set(), scans, output, overwrite=True)
    assert sorted(str(f.relative_to(output)) for f in output.rglob("*.*") if f.is_file()) == [
        *(f"{case}/{name}" for case in "abc" for name in (".done.json", "localization.json")),
        "run.json",
    ]


def test_a_wrong_call_writes_nothing(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    calls: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (UsageError, "no such file", lambda: segment(model, tmp_path / "absent", output)),
        (
            TemplateError,
            "another localizer",
            lambda: segment(model, scans, output, templates=template_set(signature="0" * 64)),
        ),
        (
            TemplateError,
            "liver",
            lambda: segment(model, scans, output, options=InferenceOptions.of(organs=("liver",))),
        ),
        (
            WeightsError,
            "absent",
            lambda: segment(
                MedLSAM(
                    model.localizer, options=InferenceOptions.of(segmenter=tmp_path / "absent.safetensors")
                ),
                scans,
                output,
            ),
        ),
        (
            UsageError,
            "several scans are called a",
            lambda: segment(model, [Case("a", scans / "a_0000.nii.gz")] * 2, output),
        ),
    ]
    for kind, told, call in calls:
        with pytest.raises(kind, match=told):
            call()
        assert not output.exists(), told
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="this is a file"):
        segment(model, scans, tmp_path / "file")
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "labels.json").write_text('{"block": 1}')
    with pytest.raises(UsageError, match="may be a templates folder"):
        segment(model, scans, templates)
    assert [f.name for f in templates.iterdir()] == ["labels.json"]


def test_weights_that_do_not_load_fail_the_call(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.safetensors").write_bytes(b"PK\x03\x04 no weights")
    wrong = MedLSAM(model.localizer, options=InferenceOptions.of(segmenter=tmp_path / "wrong.safetensors"))
    with pytest.raises(WeightsError):
        segment(wrong, scans, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_beside_the_scans_are_not_taken_for_scans(model: MedLSAM, scans: Path) -> None:
    for _ in range(2):
        result = segment(model, scans, scans / "out")
        assert sorted((*result.done, *result.skipped)) == ["a", "b", "c"]
    with pytest.raises(UsageError, match="outside of the output folder"):
        segment(model, scans, scans)


def test_a_report_that_fails_is_a_warning(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    module = ModuleType("medlsam.export.report")
    module.write_report = written.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medlsam.export.report", module)
    assert segment(model, scans, tmp_path / "out", report=True).warnings == ()
    assert written == [tmp_path / "out"]

    def broken(output: Path) -> None:
        raise OSError("no space")

    module.write_report = broken  # type: ignore[attr-defined]
    result = segment(model, scans, tmp_path / "out", report=True)
    assert result.exit_code == 0
    assert result.warnings == ("report.html could not be written: OSError: no space",)
    assert read(tmp_path / "out" / "run.json")["warnings"] == list(result.warnings)


def test_what_the_reader_warns_of_is_on_record(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(path: Path) -> Any:
        logging.getLogger("medlsam.io.dicom").warning("%s: a slice is missing", path.name[0])
        return read_image(path)

    monkeypatch.setattr("medlsam.batch.one_scan.read_image", warn)
    segment(model, scans, tmp_path / "out")
    cases = read(tmp_path / "out" / "run.json")["cases"]
    assert {name: case["warnings"] for name, case in cases.items()} == {
        name: [f"{name}: a slice is missing"] for name in ("a", "b", "c")
    }


def test_the_answer_is_json(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    result = segment(model, scans, tmp_path / "out")
    assert json.loads(json.dumps(result.to_dict())) == {
        "output": str(tmp_path / "out"),
        "done": ["a", "b", "c"],
        "skipped": [],
        "failed": {},
        "warnings": [],
        "exit_code": 0,
    }
