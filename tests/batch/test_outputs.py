"""The formats of a run: in each scan's folder, with its marker, done again where they or the series change."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from medlsam.batch import localize_folder
from medlsam.errors import UsageError
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.volume import Image
from tests.support.bare_templates import bare_templates
from tests.support.batch_runs import GRID, read, segment
from tests.support.data.dicom_files import write_ct
from tests.support.dicom_objects import segments_on, structures_in
from tests.support.fakes.stub_model import draw_ct, template_set, true_mask

ALL = InferenceOptions.of(format="dicom-seg,rtstruct,slicer", per_structure=True)
DICOM = InferenceOptions.of(format="dicom-seg,rtstruct")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Two DICOM series; the second has no plate."""
    for number, name in enumerate(("a", "b")):
        image = draw_ct(GRID, without=["plate"] if name == "b" else [], seed=number)
        write_ct(image, tmp_path / "series" / name, series=f"{number + 1}")
    return tmp_path / "series"


def files_in(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}


OF_A = {
    ".done.json",
    "localization.json",
    "segmentation.nii.gz",
    "thumbnails.json",
    "segmentation.dcm",
    "rtstruct.dcm",
    "segmentation.seg.nrrd",
    "boxes.mrk.json",
    "structures/block.nii.gz",
    "structures/plate.nii.gz",
}


def test_all_formats(model: MedLSAM, series: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert segment(model, series, output, options=ALL).exit_code == 0
    assert files_in(output / "a") == OF_A
    assert files_in(output / "b") == OF_A - {"structures/plate.nii.gz"}
    assert set(read(output / "a" / ".done.json")["files"]) == OF_A - {".done.json"}
    for name in ("a", "b"):
        image = read_image(series / name)
        masks = segments_on(output / name / "segmentation.dcm", image.grid)
        outlines = structures_in(output / name / "rtstruct.dcm", image.source.files)
        assert set(masks) == set(outlines) == ({"block", "plate"} if name == "a" else {"block"})
        for structure, mask in masks.items():
            np.testing.assert_array_equal(mask, true_mask(image, structure))
            np.testing.assert_array_equal(outlines[structure], mask)
    text = (output / "labels.itksnap.txt").read_text(encoding="utf-8")
    assert '"block"' in text
    assert '"ghost"' in text
    assert segment(model, series, output, options=ALL).done == ()


def test_given_boxes_are_written_in_every_format_too(model: MedLSAM, series: Path, tmp_path: Path) -> None:
    localize_folder(model, template_set(), series, tmp_path / "located")
    options, boxes = ALL.replace(prompts="wpl"), tmp_path / "located"
    templates = bare_templates()
    assert (
        segment(model, series, tmp_path / "out", templates=templates, options=options, boxes=boxes).failed
        == {}
    )
    image = read_image(series / "a")
    masks = segments_on(tmp_path / "out" / "a" / "segmentation.dcm", image.grid)
    np.testing.assert_array_equal(masks["plate"], true_mask(image, "plate"))
    assert files_in(tmp_path / "out" / "a") == OF_A


def test_other_formats_are_done_again_and_leave_nothing_old(
    model: MedLSAM, series: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    segment(model, series, output, options=ALL)
    (output / "a" / "notes.txt").touch()
    (output / "a" / "structures" / "notes.txt").touch()
    assert segment(model, series, output).done == ("a", "b")
    kept = {"notes.txt", "structures/notes.txt"}
    plain = {".done.json", "localization.json", "segmentation.nii.gz", "thumbnails.json"}
    assert files_in(output / "a") == plain | kept
    assert files_in(output / "b") == plain
    assert segment(model, series, output, options=ALL).done == ("a", "b")
    assert files_in(output / "a") == OF_A | kept


@pytest.mark.parametrize(
    "lost", ["rtstruct.dcm", "structures/block.nii.gz", "segmentation.seg.nrrd", "thumbnails.json"]
)
def test_a_scan_whose_output_is_gone_is_done_again(
    model: MedLSAM, series: Path, tmp_path: Path, lost: str
) -> None:
    output = tmp_path / "out"
    segment(model, series, output, options=ALL)
    (output / "a" / lost).unlink()
    assert segment(model, series, output, options=ALL).done == ("a",)
    assert (output / "a" / lost).is_file()


def test_a_scan_that_cannot_have_a_format_fails_before_any_network_runs(
    model: MedLSAM, series: Path, tmp_path: Path
) -> None:
    write_volume(draw_ct(GRID, seed=5), series / "c.nii.gz")
    result = segment(model, series, tmp_path / "out", options=DICOM)
    assert (result.done, list(result.failed), result.exit_code) == (("a", "b"), ["c"], 1)
    assert "c.nii.gz: dicom-seg, rtstruct refer to a DICOM series" in result.failed["c"]
    assert "--reference-series DIR" in result.failed["c"]
    assert model.localizer.seen == 2  # type: ignore[attr-defined]
    assert read(tmp_path / "out" / "run.json")["cases"]["c"]["error"]["type"] == "VolumeError"
    assert not (tmp_path / "out" / "c").exists()


def test_where_no_scan_can_have_it_nothing_is_written(model: MedLSAM, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with pytest.raises(UsageError, match="the scans are no DICOM"):
        segment(model, scans, output, options=DICOM)
    with pytest.raises(UsageError, match="no such folder"):
        segment(model, scans, output, options=DICOM.replace(reference_series=tmp_path / "absent"))
    with pytest.raises(UsageError, match="ask for one"):
        segment(model, scans, output, options=InferenceOptions.of(reference_series=tmp_path))
    assert not output.exists()
    # Locating writes no label map, so the same options are no reason to refuse it.
    assert localize_folder(model, template_set(), scans, output, options=DICOM).exit_code == 0


def test_reference_series_by_the_names_of_the_scans(model: MedLSAM, series: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(read_image(series / name), tmp_path / "scans" / f"{name}.nii.gz")
    output, options = tmp_path / "out", DICOM.replace(reference_series=series)
    assert segment(model, tmp_path / "scans", output, options=options).done == ("a", "b")
    image = read_image(series / "a")
    masks = segments_on(output / "a" / "segmentation.dcm", image.grid)
    np.testing.assert_array_equal(masks["plate"], true_mask(image, "plate"))
    assert segment(model, tmp_path / "scans", output, options=options).skipped == ("a", "b")
    # A series that is another one now is written into anew.
    shutil.rmtree(series / "b")
    write_ct(Image(image.array, image.grid), series / "b", series="5")
    assert segment(model, tmp_path / "scans", output, options=options).done == ("b",)


def test_a_warning_where_there_is_nothing_to_write(model: MedLSAM, tmp_path: Path) -> None:
    write_ct(draw_ct(GRID, without=["block", "plate"]), tmp_path / "series" / "empty")
    assert segment(model, tmp_path / "series", tmp_path / "out", options=DICOM).exit_code == 0
    warnings = read(tmp_path / "out" / "run.json")["cases"]["empty"]["warnings"]
    assert [text for text in warnings if text.startswith("rtstruct: no structure was found")]
    assert files_in(tmp_path / "out" / "empty") == {
        ".done.json",
        "localization.json",
        "segmentation.nii.gz",
        "thumbnails.json",
    }


def test_what_is_not_written_is_no_option_of_one_scan(model: MedLSAM) -> None:
    with pytest.raises(
        UsageError, match=r"format: one scan's answer is not written; use medlsam\.segment_folder"
    ):
        model.segment(draw_ct(GRID), template_set(), format="slicer")


def test_processes_in_other_folders_find_a_relative_reference_series(
    model: MedLSAM, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(read_image(series / "a"), tmp_path / "scans" / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    options = DICOM.replace(reference_series="series")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert segment(model, tmp_path / "scans", tmp_path / "out", options=options).done == ("a",)


def test_pictures_that_cannot_be_drawn_are_a_warning_and_old_ones_do_not_stay(
    model: MedLSAM, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    segment(model, scans, output)
    assert (output / "a" / "thumbnails.json").is_file()

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("no ray")

    monkeypatch.setattr("medlsam.export.thumbnails.file.draw_projections", broken)
    result = segment(model, scans, output, overwrite=True)
    assert (result.exit_code, len(result.done)) == (0, 3)
    assert not (output / "a" / "thumbnails.json").exists()
    warnings = read(output / "run.json")["cases"]["a"]["warnings"]
    assert warnings == ["no pictures for the report: ZeroDivisionError: no ray"]
    localize_folder(model, template_set(), scans, tmp_path / "located")
    assert not list((tmp_path / "located").rglob("thumbnails.json")), "there is no mask"
