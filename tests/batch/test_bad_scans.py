"""Bad input never costs other work: every kind of bad scan is named with its file, and the scan beside it is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medlsam import errors
from medlsam.batch import segment_folder
from medlsam.io.write import write_volume
from medlsam.pipeline.model import MedLSAM
from tests.support.bad.archives import ARCHIVES
from tests.support.bad.image_files import IMAGE_FILES
from tests.support.batch_runs import GRID
from tests.support.fakes.stub_model import draw_ct, template_set

KINDS = IMAGE_FILES | ARCHIVES


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_scan_is_named_and_the_others_are_done(model: MedLSAM, tmp_path: Path, kind: str) -> None:
    make, words = KINDS[kind]
    scans, output = tmp_path / "scans", tmp_path / "out"
    write_volume(draw_ct(GRID), scans / "good.nii.gz")
    make(scans, draw_ct(GRID))
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    result = segment_folder(model, template_set(), scans, output, report=False)
    assert result.done == ("good",)
    assert list(result.failed) == ["bad"]
    assert result.exit_code == 1
    record = json.loads((output / "run.json").read_text())["cases"]["bad"]
    assert record["status"] == "failed"
    # Foreseen: a type of ours, and no traceback.
    assert issubclass(getattr(errors, record["error"]["type"]), errors.MedlsamError)
    assert set(record["error"]) == {"type", "text"}
    text = record["error"]["text"]
    assert "bad" in text
    assert __import__("re").search(words, text), text
    # Nothing half-written, nothing outside of the output folder.
    assert not (output / "bad").exists()
    assert not [f for f in output.rglob("*") if f.name.startswith((".tmp", ".bad"))]
    assert {f for f in tmp_path.rglob("*") if f.is_file() and not f.is_relative_to(output)} == before
    assert (output / "good" / "segmentation.nii.gz").is_file()


def test_the_list_is_long() -> None:
    assert len(KINDS) >= 85
