"""Evaluation with a stub model whose answers are known: every figure below can be worked out by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from medlsam.errors import UsageError, VolumeError
from medlsam.evaluation.oracles import in_true_box, map_box
from medlsam.evaluation.references import find_references
from medlsam.evaluation.run import evaluate
from medlsam.evaluation.scores import FIGURES, ROWS, STAGES
from medlsam.evaluation.tables import format_tables
from medlsam.geometry import Box, Grid
from medlsam.io.cases import Case, find_cases
from medlsam.io.read import read_label_map
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization, LocatedOrgan, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Volume

SHAPE = (16, 24, 28)
SPACING = (2.0, 2.0, 3.0)
NAMES = {1: "cube", 2: "bar", 3: "cut"}
#: (z, y, x) slices on the canonical grid; "cut" reaches the last slice.
PLACES = {
    "cube": (slice(4, 10), slice(5, 15), slice(4, 14)),
    "bar": (slice(3, 12), slice(16, 20), slice(18, 22)),
    "cut": (slice(12, 16), slice(4, 8), slice(18, 24)),
}


def place_box(name: str, shift_mm: float = 0.0) -> Box:
    """The true box of a structure on the canonical grid at origin 0, moved along x."""
    z, y, x = PLACES[name]
    low = [(s.start - 0.5) * d for s, d in zip((x, y, z), SPACING, strict=True)]
    high = [(s.stop - 0.5) * d for s, d in zip((x, y, z), SPACING, strict=True)]
    return Box((low[0] + shift_mm, low[1], low[2]), (high[0] + shift_mm, high[1], high[2]))


def fill_boxes(
    volume: Volume, prompts: Mapping[str, Sequence[SlicePrompt]], **_: Any
) -> dict[str, MaskBlock]:
    """A segmenter that fills every prompted box."""
    blocks = {}
    for key, boxes in prompts.items():
        probability = np.zeros(volume.array.shape, np.float32)
        for prompt in boxes:
            x0, y0, x1, y1 = (math.ceil(edge - 1e-6) for edge in prompt.box_xyxy)
            probability[prompt.z, y0:y1, x0:x1] = 1.0
        blocks[key] = MaskBlock((0, 0, 0), probability)
    return blocks


class StubModel:
    """Locates every structure ``shift_mm`` to the left of the truth and fills the located boxes."""

    localizer_weights = segmenter_weights = SimpleNamespace(name="stub", sha256="").__dict__

    def __init__(
        self,
        shift_mm: float = 0.0,
        missing: Sequence[tuple[str, str]] = (),
        prior: bool = True,
        promise_mm: float = 3.0,
    ) -> None:
        self.shift_mm = shift_mm
        self.missing = missing
        self.prior = prior
        self.promise_mm = promise_mm
        self.segmenter = SimpleNamespace(segment=fill_boxes, spec=SimpleNamespace(kind="crop", name="stub"))
        self.events: list[str] = []

    def check(self, templates: Any) -> None:
        """Any templates will do."""

    def embed(self, image: Volume) -> str:
        """An embedding that says whose it is, for nobody to take that of another scan."""
        assert image.path is not None
        self.events.append(f"embed {image.path.name}")
        return image.path.name

    def options_of(self, options: InferenceOptions | None = None, **overrides: Any) -> InferenceOptions:
        """As ``MedLSAM.options_of``."""
        return (options or InferenceOptions()).replace(**overrides)

    def localize(
        self,
        image: Volume,
        templates: Any,
        options: InferenceOptions,
        *,
        stopwatch: Stopwatch | None = None,
        embedding: str = "",
        search_options: Any = None,
        **overrides: Any,
    ) -> Localization:
        """The true boxes, moved twice as far by the paper's mode, and 2 mm farther where nothing is refined."""
        assert image.path is not None
        case = image.path.name
        assert embedding == case, "the scan is embedded once, for all searches"
        shift = self.shift_mm * (2 if options.replace(**overrides).locate.search == "random-start" else 1)
        shift += 2.0 if search_options is not None and not search_options.windows_mm else 0.0
        with (stopwatch or Stopwatch())("locate"):
            organs = self._organs(case, templates, shift)
        return Localization(case, organs, image)

    def _organs(self, case: str, templates: Any, shift: float) -> dict[str, LocatedOrgan]:
        prior = np.ones((4, 4, 4), np.float32) if self.prior else None
        return {
            name: LocatedOrgan(
                name,
                "missing" if (case, name) in self.missing else "found",
                0.3 if (case, name) in self.missing else 0.8,
                box=place_box(name, shift),
                prompt_box=place_box(name, shift).expand(self.promise_mm),
                shape_prior=prior,
            )
            for name in templates.organs
        }

    def segment(
        self,
        image: Volume,
        templates: Any,
        options: InferenceOptions,
        *,
        embedding: str,
        stopwatch: Stopwatch,
    ) -> Segmentation:
        """The located boxes filled, in the image's own geometry."""
        located = self.localize(image, templates, options, embedding=embedding)
        self.events.append(f"segment {located.case}")
        if located.case == "broken":
            raise VolumeError("broken: this scan cannot be segmented")
        values = {name: value for value, name in NAMES.items() if name in templates.organs}
        segmenter: Any = self.segmenter
        return segment_located(lambda: segmenter, image, located, values, options, stopwatch)


TEMPLATES: Any = SimpleNamespace(organs=("cube", "bar", "cut"))
Dataset = Callable[..., list[Case]]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Writes an nnU-Net dataset of the stub's world; the scans' axes may be turned."""

    def write(names: Sequence[str], flipped: bool = False, cases_json: Any = None) -> list[Case]:
        labels = np.zeros(SHAPE, np.uint8)
        for value, name in NAMES.items():
            labels[PLACES[name]] = value
        image = np.where(labels > 0, 40, -900).astype(np.int16)
        grid = Grid(SHAPE, SPACING)
        if flipped:
            far = grid.ijk_to_lps([SHAPE[2] - 1, SHAPE[1] - 1, 0])
            origin = (float(far[0]), float(far[1]), float(far[2]))
            grid = Grid(SHAPE, SPACING, origin, (-1, 0, 0, 0, -1, 0, 0, 0, 1))
            image, labels = image[:, ::-1, ::-1], labels[:, ::-1, ::-1]
        for name in names:
            write_volume(
                Volume(np.ascontiguousarray(image), grid), tmp_path / "imagesTr" / f"{name}_0000.nii.gz"
            )
            write_volume(Volume(np.ascontiguousarray(labels), grid), tmp_path / "labelsTr" / f"{name}.nii.gz")
        table = {"labels": {"background": 0, **{name: value for value, name in NAMES.items()}}}
        (tmp_path / "dataset.json").write_text(json.dumps(table))
        if cases_json is not None:
            (tmp_path / "cases.json").write_text(json.dumps({"cases": cases_json}))
        return find_cases(tmp_path / "imagesTr")

    return write


def run(model: StubModel, cases: Sequence[Case], tmp_path: Path, **options: Any) -> dict[str, Any]:
    """Evaluate with boxes as they are, and read what was written."""
    options = {"margin_mm": 0.0, "prompts": "wpl"} | options
    returned = evaluate(model, TEMPLATES, cases, tmp_path / "labelsTr", tmp_path / "out", **options)  # type: ignore[arg-type]
    written: dict[str, Any] = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == json.loads(json.dumps(returned))
    return written


@pytest.mark.parametrize("flipped", [False, True])
def test_a_shift_of_one_voxel_gives_the_figures_worked_out_by_hand(
    dataset: Dataset, tmp_path: Path, flipped: bool
) -> None:
    metrics = run(StubModel(shift_mm=2.0), dataset(["a", "b"], flipped), tmp_path)
    assert metrics["cases"] == 2
    assert list(metrics["organs"]) == ["cube", "bar"], "the one at the last slice is left out"
    cube = metrics["organs"]["cube"]
    assert cube["n"] == 2
    assert cube["iou"] == {"mean": pytest.approx(9 / 11, abs=1e-4), "std": 0.0, "n": 2}
    assert cube["wall_distance_mm"]["mean"] == pytest.approx(4 / 6, abs=1e-4)
    assert (cube["missed"], cube["false_found"]) == (0, 0)
    # Ten voxels wide, moved by one: 9 of 10 columns are common; every surface voxel is within 2 mm.
    expected = {"located": 0.9, "oracle_box": 1.0, "oracle_slices": 1.0, "shape_prior": 0.9}
    assert cube["dice"] == pytest.approx(expected)
    assert cube["hd95_mm"]["located"] == pytest.approx(2.0)
    assert cube["hd95_mm"]["oracle_slices"] == 0.0
    assert cube["nsd"]["located"] == 1.0
    assert metrics["organs"]["bar"]["dice"]["located"] == pytest.approx(0.75)
    mean = metrics["mean"]
    assert mean["iou"] == pytest.approx((9 / 11 + 3 / 5) / 2, abs=1e-4)
    assert mean["dice"]["located"] == pytest.approx((0.9 + 0.75) / 2)
    assert mean["spread"]["dice"]["located"]["n"] == 2


def test_metrics_hold_every_key_of_the_contract(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(), dataset(["a"]), tmp_path)
    for figures in (metrics["organs"]["cube"], metrics["mean"]):
        assert all(set(figures[figure]) == set(ROWS) for figure in FIGURES)
    assert {"iou", "wall_distance_mm"} <= set(metrics["mean"])
    assert set(STAGES) <= set(metrics["seconds_per_case"])
    assert all(isinstance(value, float) for value in metrics["seconds_per_case"].values())
    assert "random-start" not in metrics
    assert metrics["failed"] == {}
    assert (tmp_path / "out" / "a" / "segmentation.nii.gz").is_file()
    assert json.loads((tmp_path / "out" / "a" / "localization.json").read_text())["case"] == "a"


def test_labels_are_opened_only_after_the_case_is_segmented(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cases = StubModel(), dataset(["a", "b"])

    def spy(path: Path) -> Volume:
        written = (tmp_path / "out" / path.name.removesuffix(".nii.gz") / "segmentation.nii.gz").is_file()
        model.events.append(f"labels {path.name} {'after' if written else 'BEFORE'}")
        return read_label_map(path)

    monkeypatch.setattr("medlsam.evaluation.references.read_label_map", spy)
    run(model, cases, tmp_path)
    assert model.events == [
        *("embed a", "segment a", "labels a.nii.gz after"),
        *("embed b", "segment b", "labels b.nii.gz after"),
    ]


def test_a_missed_structure_counts_zero_and_has_no_distance(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    cube = metrics["organs"]["cube"]
    assert (cube["n"], cube["missed"]) == (2, 1)
    assert cube["iou"]["mean"] == pytest.approx(0.5)
    assert cube["iou"]["std"] == pytest.approx(math.sqrt(0.5), abs=1e-4)
    assert cube["dice"] == pytest.approx(
        {"located": 0.5, "oracle_box": 1.0, "oracle_slices": 1.0, "shape_prior": 0.5}
    )
    assert cube["nsd"]["located"] == pytest.approx(0.5)
    assert cube["wall_distance_mm"]["n"] == 1
    assert cube["spread"]["hd95_mm"]["located"] == {"mean": 0.0, "std": 0.0, "n": 1}


def test_a_structure_missed_everywhere_has_null_distances(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(missing=[("a", "cube")]), dataset(["a"]), tmp_path)
    cube = metrics["organs"]["cube"]
    assert cube["wall_distance_mm"]["mean"] is None
    assert cube["hd95_mm"]["located"] is None
    assert cube["dice"]["located"] == 0.0
    assert metrics["mean"]["dice"]["located"] == pytest.approx(0.5)


def test_a_failing_case_is_reported_and_counts_zero(dataset: Dataset, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    cases = dataset(["a", "broken", "c"])
    metrics = run(
        StubModel(), cases, tmp_path, on_progress=lambda *told: seen.append(told), compare_search=True
    )
    assert seen == [(1, 3, "a"), (2, 3, "broken"), (3, 3, "c")]
    assert list(metrics["failed"]) == ["broken"]
    assert "cannot be segmented" in metrics["failed"]["broken"]
    cube = metrics["organs"]["cube"]
    assert (cube["n"], cube["missed"]) == (3, 1)
    assert cube["dice"] == pytest.approx(dict.fromkeys(ROWS, 2 / 3), abs=1e-4)
    assert metrics["random-start"]["organs"]["cube"]["n"] == 3
    assert metrics["seconds_spread"]["embed"]["n"] == 2


def test_cases_json_says_what_is_complete_and_what_is_absent(dataset: Dataset, tmp_path: Path) -> None:
    listed = {"a": {"complete": ["cube", "cut"], "absent": ["bar"]}}
    metrics = run(StubModel(), dataset(["a", "b"], cases_json=listed), tmp_path)
    organs = metrics["organs"]
    assert organs["cut"]["n"] == 1, (
        "complete in a, whatever slice it touches; cut off in b, which is not listed"
    )
    assert organs["cube"]["n"] == 2
    assert (organs["bar"]["n"], organs["bar"]["false_found"]) == (1, 1)


def test_the_papers_mode_stands_beside_and_its_box_always_counts(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, missing=[("a", "cube")])
    metrics = run(model, dataset(["a"]), tmp_path, compare_search=True)
    paper = metrics["random-start"]
    assert metrics["organs"]["cube"]["iou"]["mean"] == 0.0
    assert paper["organs"]["cube"]["iou"]["mean"] == pytest.approx(8 / 12, abs=1e-4)
    assert paper["organs"]["cube"]["wall_distance_mm"]["mean"] == pytest.approx(8 / 6, abs=1e-4)
    assert paper["mean"]["iou"] == pytest.approx((8 / 12 + 2 / 6) / 2, abs=1e-4)
    # Before refinement everything lies 2 mm farther, and nothing is called missing.
    assert metrics["coarse_only"]["organs"]["cube"]["iou"]["mean"] == pytest.approx(8 / 12, abs=1e-4)
    assert paper["coarse_only"]["organs"]["cube"]["iou"]["mean"] == pytest.approx(7 / 13, abs=1e-4)
    assert model.events.count("embed a") == 1
    assert metrics["seconds_spread"]["random_start_locate"]["n"] == 1


def test_margins_are_held_against_the_true_faces(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a", "b"])
    wide = run(StubModel(shift_mm=4.0, promise_mm=4.0), cases, tmp_path)["organs"]["cube"]["coverage"]
    assert (wide["within"], wide["reached"], wide["n"]) == (1.0, 1.0, 12)
    assert wide["margin_mm"] == {"mean": 4.0, "std": 0.0, "n": 12}
    metrics = run(StubModel(shift_mm=4.0, promise_mm=3.0, missing=[("b", "cube")]), cases, tmp_path)
    narrow = metrics["organs"]["cube"]["coverage"]
    # Both faces across x are 4 mm off; one of them outwards, which a reader of the wider box does not mind.
    assert narrow["within"] == pytest.approx(4 / 6, abs=1e-4)
    assert narrow["reached"] == pytest.approx(5 / 6, abs=1e-4)
    assert narrow["n"] == 6, "a structure that is not found promises nothing"
    assert metrics["mean"]["coverage"]["n"] == 18
    errors = metrics["organs"]["bar"]["face_error_mm"]
    assert errors["x-"]["signed"]["mean"] == -4.0, "the low face moved into the structure"
    assert errors["x+"]["signed"]["mean"] == 4.0
    assert errors["x-"]["absolute"] == {"mean": 4.0, "std": 0.0, "n": 2}
    assert errors["z+"]["absolute"]["mean"] == 0.0


def test_status_shares_and_the_worth_of_confidence(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, missing=[("a", "cube"), ("b", "bar")])
    metrics = run(model, dataset(["a", "b", "broken"]), tmp_path)
    cube, mean = metrics["organs"]["cube"], metrics["mean"]
    assert cube["status_shares"] == {
        **dict.fromkeys(("found", "missing", "failed"), pytest.approx(1 / 3, abs=1e-4)),
        **dict.fromkeys(("uncertain", "out_of_view"), 0.0),
    }
    assert cube["false_missing"] == pytest.approx(1 / 3, abs=1e-4), (
        "a failed case is no claim that it is missing"
    )
    assert mean["scored"] == 6
    assert mean["false_missing"] == pytest.approx(2 / 6, abs=1e-4)
    # IoU 0, 9/11, 3/5, 0 with confidence 0.3, 0.8, 0.8, 0.3: the same order but for ties.
    assert mean["confidence_rank_correlation"]["rho"] == pytest.approx(0.9428, abs=1e-3)
    assert mean["confidence_rank_correlation"]["n"] == 4
    assert cube["confidence_rank_correlation"] == {"rho": None, "n": 2}


def test_templates_without_masks_have_no_shape_row(dataset: Dataset, tmp_path: Path) -> None:
    metrics = run(StubModel(prior=False, missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    assert metrics["organs"]["cube"]["dice"]["shape_prior"] is None
    assert metrics["mean"]["dice"]["shape_prior"] is None
    assert metrics["mean"]["dice"]["located"] == pytest.approx(0.75)


def test_cases_csv_has_a_row_per_case_and_structure(dataset: Dataset, tmp_path: Path) -> None:
    run(StubModel(missing=[("b", "cube")]), dataset(["a", "b"]), tmp_path)
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["organ"]) for row in rows] == [(c, o) for c in "ab" for o in ("cube", "bar")]
    assert (rows[2]["status"], rows[2]["missed"], rows[2]["wall_distance_mm"]) == ("missing", "1", "")
    assert float(rows[0]["dice_located"]) == 1.0


def test_calls_that_can_score_nothing_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a"])
    with pytest.raises(UsageError, match=r"none of 1 scans.*stranger\.nii\.gz"):
        run(StubModel(), [replace(cases[0], name="stranger")], tmp_path)
    with pytest.raises(UsageError, match=r"templates have cube, bar, cut, the labels liver"):
        run(StubModel(), cases, tmp_path, names={1: "liver"})
    with pytest.raises(UsageError, match="not a folder of label maps"):
        find_references(tmp_path / "nowhere")
    metrics = run(StubModel(), [*cases, Case("stranger", cases[0].path)], tmp_path)
    assert (metrics["cases"], metrics["unlabelled"]) == (1, ["stranger"])


def test_each_case_may_number_its_structures_itself(tmp_path: Path) -> None:
    for case, table in (("a", {"bar": 2, "cube": 1}), ("b", {"cube": 7})):
        folder = tmp_path / case
        folder.mkdir()
        (folder / "labels.json").write_text(json.dumps(table))
        array = np.zeros((16, 24, 28), np.uint8)
        for place, value in enumerate(table.values()):
            array[4:8, 4:8, 4 + 6 * place : 8 + 6 * place] = value
        write_volume(Volume(array, Grid(array.shape, SPACING)), folder / "labels.nii.gz")
    references = find_references(tmp_path)
    assert references.names == {1: "bar", 2: "cube"}
    assert references.read("a").values == {"cube": 1, "bar": 2}
    assert references.read("b").values == {"cube": 7}
    assert references.read("b").mask("cube").all()
    (tmp_path / "a" / "labels.json").unlink()
    (tmp_path / "b" / "labels.json").unlink()
    with pytest.raises(UsageError, match=r"label names are needed.*no case in it has a labels\.json"):
        find_references(tmp_path)


def test_labels_on_another_grid_fail_the_case(dataset: Dataset, tmp_path: Path) -> None:
    cases = dataset(["a"])
    other = Volume(np.ones((16, 24, 27), np.uint8), Grid((16, 24, 27), SPACING))
    write_volume(other, tmp_path / "labelsTr" / "a.nii.gz")
    assert "GeometryError" in run(StubModel(), cases, tmp_path)["failed"]["a"]


def test_boxes_and_slabs_move_with_their_frame() -> None:
    source, target = Box((0, 0, 0), (10, 20, 40)), Box((5, 5, 5), (15, 25, 25))
    assert map_box(source, source, target) == target
    assert map_box(Box((0, 5, 20), (5, 10, 40)), source, target) == Box((5, 10, 15), (10, 15, 25))
    organ = LocatedOrgan("cube", "missing", 0.1, box=source, slabs=(Box((0, 0, 0), (10, 20, 20)),))
    oracle = in_true_box(organ, target)
    assert oracle.present
    assert oracle.slabs == (Box((5, 5, 5), (15, 25, 15)),)


def test_the_table_shows_every_structure_and_the_verdict(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, promise_mm=1.0)
    metrics = run(model, dataset(["a"]), tmp_path, compare_search=True)
    console = Console(width=220, record=True, file=io.StringIO())
    for table in format_tables(metrics):
        console.print(table)
    text = console.export_text()
    assert all(word in text for word in ("cube", "bar", "mean", "0.82 ±0.00", "random-start"))
    assert "DOES NOT BEAT" in text, "both fill the same box"
    assert "67 %" in text, "faces within their margin"
    assert "83 %" in text, "faces reached"
    assert "random-start, coarse only" in text
    assert "-2.0, 2.0" in text, "an outward error with its sign and its size"
