"""The files that a run writes, what it refuses before any work, and what it answers."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from medlsam.batch import localize_folder, segment_folder
from medlsam.errors import TemplateError, UsageError, WeightsError
from medlsam.geometry import Grid
from medlsam.io.cases import Case
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.results import Localization
from tests.support.batch_runs import read, rows, segment
from tests.support.data.dicom_series import new_uids, write_slices
from tests.support.fakes.stub_model import (
    SIGNATURE,
    VALUES,
    template_set,
    true_mask,
)


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
        *(
            f"{case}/{name}"
            for case in "abc"
            for name in (".done.json", "boxes.mrk.json", "localization.json")
        ),
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
    assert result.warnings == ("report.html could not be written (no space)",)
    assert read(tmp_path / "out" / "run.json")["warnings"] == list(result.warnings)


def test_what_the_reader_warns_of_is_on_record(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(path: Path) -> Any:
        logging.getLogger("medlsam.io.dicom").warning("%s: a slice is missing", path.name[0])
        return read_image(path)

    monkeypatch.setattr("medlsam.io.cases.read_image", warn)
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


def test_names_that_the_run_needs_itself_and_names_that_are_no_text(model, small_ct, tmp_path):
    scans, output = tmp_path / "scans", tmp_path / "out"
    for name in ("run.json", "report.html", "L" * 240):
        write_volume(small_ct, scans / "a.nii.gz")
        (scans / "a.nii.gz").rename(scans / f"{name}.nii.gz")
    write_volume(small_ct, scans / "a.nii.gz")
    os.rename(os.fsencode(scans / "a.nii.gz"), os.fsencode(scans) + b"/M\xfcller.nii.gz")
    result = segment_folder(model, template_set(), scans, output)
    assert not result.failed
    assert set(result.done) == {"run.json_scan", "report.html_scan", "L" * 240, "Müller"}
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    # The record's path opens the scan again.
    assert all(Path(record["image"]).is_file() for record in run["cases"].values())
    assert segment_folder(model, template_set(), scans, output).done == ()
    assert not list(output.glob(".*.partial"))


def test_what_was_left_out_is_on_record(model, small_ct, tmp_path):
    write_volume(small_ct, tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "scans" / "b.mgz").touch()
    result = segment_folder(model, template_set(), tmp_path / "scans", tmp_path / "out")
    assert len(result.warnings) == 1
    assert "b.mgz: a FreeSurfer image" in result.warnings[0]


def test_two_series_of_one_folder_are_reported_each_with_its_own_pictures(model, make_ct, tmp_path):
    for n, patient in enumerate(("one", "two")):
        scan = make_ct(Grid((12, 20, 24), (4.0, 4.0, 5.0), (n * 100.0, 0.0, 0.0)), seed=n)
        write_slices(scan, tmp_path / "s", uids=new_uids(patient=patient), name=f"{n}_{{}}.dcm")
    output = tmp_path / "out"
    result = segment_folder(model, template_set(), tmp_path / "s", output)
    assert result.done == ("s_one", "s_two")
    run = json.loads((output / "run.json").read_text())
    for n, (name, record) in enumerate(sorted(run["cases"].items())):
        assert record["first_file"].endswith(f"{n}_0.dcm")
        origin = read_label_map(output / name / "segmentation.nii.gz").grid.origin_xyz
        assert origin[0] == pytest.approx(n * 100.0)
    assert "cannot be drawn" not in (output / "report.html").read_text()
