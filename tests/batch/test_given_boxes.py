"""Runs in given boxes: where they are looked for, whose they are, and when a scan is done again."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.batch import BatchResult, localize_folder
from medlsam.batch.given_boxes import boxes_state, read_given
from medlsam.batch.output import OutputFolder
from medlsam.batch.task import Run, ScanResult
from medlsam.batch.worker import ScanJob
from medlsam.errors import UsageError
from medlsam.geometry import Box, mask_box
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.atomic_files import write_json
from tests.support.bare_templates import bare_templates
from tests.support.batch_runs import everything, read, rows, segment
from tests.support.fakes.stub_model import VALUES, true_mask

WPL = InferenceOptions.of(prompts="wpl")


@pytest.fixture
def located(model: MedLSAM, scans: Path, tmp_path: Path) -> Path:
    """What ``localize`` wrote."""
    localize_folder(model, bare_templates(), scans, tmp_path / "located")
    return tmp_path / "located"


def given(model: MedLSAM, scans: Path, output: Path, boxes: Path, **more: Any) -> BatchResult:
    return segment(
        model, scans, output, **{"templates": bare_templates(), "options": WPL, "boxes": boxes} | more
    )


def roi(name: str, box: Box) -> dict[str, Any]:
    return {"type": "ROI", "name": name, "center": box.center, "size": box.size}


def write_boxes(path: Path, **boxes: Box) -> None:
    write_json(path, {"markups": [roi(name, box) for name, box in boxes.items()]})


def box_of(scans: Path, case: str, structure: str) -> Box:
    image = read_image(scans / f"{case}_0000.nii.gz")
    return mask_box(true_mask(image, structure), image.grid)


def test_unchanged_boxes_give_what_an_ordinary_run_gives(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    segment(model, scans, tmp_path / "ordinary", templates=bare_templates(), options=WPL)
    seen = model.localizer.seen  # type: ignore[attr-defined]
    result = given(model, scans, tmp_path / "out", located)
    assert (result.done, result.failed) == (("a", "b", "c"), {})
    assert model.localizer.seen == seen  # type: ignore[attr-defined]
    for case in "abc":
        both = [tmp_path / name / case / "segmentation.nii.gz" for name in ("ordinary", "out")]
        np.testing.assert_array_equal(*(read_label_map(path).array for path in both))
        assert read_label_map(both[0]).array.any()
    assert read(tmp_path / "out" / "run.json")["boxes"] == str(located)
    assert "boxes" not in read(tmp_path / "ordinary" / "run.json")
    told = {(row["case"], row["organ"]): row for row in rows(tmp_path / "out")}
    assert (told["a", "block"]["status"], told["a", "block"]["expected_error_mm"]) == ("found", "")
    assert told["b", "plate"]["status"] == "missing"
    organs = read(tmp_path / "out" / "a" / "localization.json")["organs"]
    assert organs["block"]["details"] == {"given": 1.0}
    assert organs["block"]["extreme_points"] is None


def test_a_scan_is_done_again_where_its_boxes_changed(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given(model, scans, output, located)
    before = everything(output)
    copied = tmp_path / "copied"
    shutil.copytree(located, copied)  # the same values in another place
    assert given(model, scans, output, copied).skipped == ("a", "b", "c")
    assert everything(output) == before
    write_boxes(copied / "b" / "boxes.mrk.json", block=box_of(scans, "b", "block").shrink(0.5))
    result = given(model, scans, output, copied)
    assert (result.done, result.skipped) == (("b",), ("a", "c"))
    smaller, usual = (
        (read_label_map(output / case / "segmentation.nii.gz").array == VALUES["block"]).sum()
        for case in "ba"
    )
    assert 0 < smaller < usual / 3
    # Located again, all are other results.
    assert segment(model, scans, output, templates=bare_templates(), options=WPL).done == ("a", "b", "c")


def test_scans_in_given_boxes_are_no_part_of_an_ordinary_run(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    given(model, scans / "a_0000.nii.gz", output, located)
    result = segment(model, scans / "b_0000.nii.gz", output, templates=bare_templates(), options=WPL)
    assert list(read(output / "run.json")["cases"]) == ["b"]
    assert "1 cases in this folder were made with other options" in result.warnings[0]


def test_a_scan_without_boxes_fails_and_the_others_go_on(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    shutil.rmtree(located / "b")
    write_boxes(located / "c" / "boxes.mrk.json", blok=box_of(scans, "c", "block"))
    result = given(model, scans, tmp_path / "out", located)
    assert result.done == ("a",)
    assert set(result.failed) == {"b", "c"}
    assert "no boxes for b: neither b/boxes.mrk.json nor b.mrk.json" in result.failed["b"]
    assert "'blok' (did you mean 'block'?)" in result.failed["c"]
    assert result.exit_code == 1


def test_what_was_deleted_is_missing_or_out_of_view(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    write_boxes(located / "a" / "boxes.mrk.json", block=box_of(scans, "a", "block"))
    content = read(located / "a" / "localization.json")
    content["organs"]["plate"]["status"] = "out_of_view"
    write_json(located / "a" / "localization.json", content)
    given(model, scans, tmp_path / "out", located)
    told = {row["organ"]: row["status"] for row in rows(tmp_path / "out") if row["case"] == "a"}
    assert told == {"block": "found", "plate": "out_of_view", "ghost": "missing"}
    # All boxes deleted is an error, and no reason to take those of localization.json.
    write_json(located / "a" / "boxes.mrk.json", {"markups": []})
    result = given(model, scans, tmp_path / "out", located)
    assert list(result.failed) == ["a"]
    assert "boxes.mrk.json: holds no box" in result.failed["a"]


def test_boxes_that_slicer_saved_by_themselves_count_first(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path
) -> None:
    half = box_of(scans, "a", "block").shrink(0.5)
    saved = roi("", half)
    del saved["name"]  # Slicer leaves it out: the file has it
    write_json(located / "a" / "block.mrk.json", {"markups": [saved]})
    found = read_given(located, "a", tuple(VALUES))
    np.testing.assert_allclose(found.boxes["block"].faces, half.faces)
    assert set(found.boxes) == {"block", "plate"}
    given(model, scans, tmp_path / "out", located)
    warnings = read(tmp_path / "out" / "run.json")["cases"]["a"]["warnings"]
    assert warnings == ["a: the box of block is taken from block.mrk.json, not from boxes.mrk.json"]
    write_boxes(located / "a" / "other.mrk.json", block=half.expand(1))
    with pytest.raises(UsageError, match="both hold a box of block"):
        read_given(located, "a", tuple(VALUES))


def test_the_places_of_boxes(scans: Path, located: Path, tmp_path: Path) -> None:
    box = box_of(scans, "a", "block")
    (located / "a" / "boxes.mrk.json").unlink()
    # localization.json holds hundredths of a millimetre.
    np.testing.assert_allclose(read_given(located, "a", VALUES).boxes["block"].faces, box.faces, atol=0.006)
    write_boxes(located / "a.mrk.json", plate=box)
    assert set(read_given(located, "a", VALUES).boxes) == {"plate"}
    write_boxes(located / "a" / "boxes.mrk.json", block=box)
    with pytest.raises(UsageError, match="both hold boxes of a; keep one"):
        read_given(located, "a", VALUES)
    assert set(read_given(located / "a.mrk.json", "whatever", VALUES).boxes) == {"plate"}
    (located / "c" / "boxes.mrk.json").write_text("{")
    with pytest.raises(UsageError, match="boxes.mrk.json: not a 3D Slicer markups file"):
        read_given(located, "c", VALUES)
    assert boxes_state(located, "c", VALUES) is None


def test_a_wrong_call_writes_nothing(model: MedLSAM, scans: Path, located: Path, tmp_path: Path) -> None:
    empty, one = tmp_path / "empty", tmp_path / "one.mrk.json"
    empty.mkdir()
    write_boxes(one, block=box_of(scans, "a", "block"))
    for boxes, words in (
        (tmp_path / "nowhere", "no such file or folder of boxes"),
        (one, "one file of boxes, but 3 scans"),
        (empty, "no boxes for a: .*nor for 2 others"),
    ):
        with pytest.raises(UsageError, match=words):
            given(model, scans, tmp_path / "out", boxes)
        assert not (tmp_path / "out").exists(), words
    before = everything(located)
    with pytest.raises(UsageError, match="boxes lie in the output folder"):
        given(model, scans, located, located, overwrite=True)
    assert everything(located) == before


def test_one_file_for_one_scan(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    write_boxes(tmp_path / "moved.mrk.json", block=box_of(scans, "a", "block"))
    result = given(model, scans / "a_0000.nii.gz", tmp_path / "out", tmp_path / "moved.mrk.json")
    assert (result.done, result.failed) == (("a",), {})


def test_relative_boxes_and_other_processes(
    model: MedLSAM, scans: Path, located: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert given(model, scans, tmp_path / "out", Path("located")).failed == {}
    assert read(tmp_path / "out" / "run.json")["boxes"] == str(located)
    run = Run("segment", model, bare_templates(), WPL, _nothing, located)
    made = ScanJob(run, OutputFolder(tmp_path / "out", "segment")).__reduce__()
    assert made[1][1][-1] == located
    assert pickle.loads(pickle.dumps(made[1][1][-1])) == located


def _nothing(*_: Any) -> ScanResult:
    return ScanResult()


def test_localize_writes_both_files_for_slicer(located: Path) -> None:
    assert sorted(file.name for file in (located / "a").glob("[!.]*")) == [
        "boxes.mrk.json",
        "localization.json",
    ]  # the stub places no points
    nodes = json.loads((located / "b" / "boxes.mrk.json").read_text())["markups"]
    assert [node["name"] for node in nodes] == ["block"]
