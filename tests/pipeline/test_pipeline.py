"""The pipeline over one scan, with stub networks: what is asked of whom, and what comes back."""

from __future__ import annotations

import base64
import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medlsam.batch
import medlsam.io.labelled_scans
import medlsam.io.labels
import medlsam.pipeline.model
from medlsam.errors import TemplateError, UsageError, WeightsError
from medlsam.geometry import Box, Grid
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template
from medlsam.options import InferenceOptions, PromptOptions
from medlsam.pipeline.model import MedLSAM, load
from medlsam.pipeline.prompts import effective_prompts, slice_prompts
from medlsam.pipeline.scan import case_generator
from medlsam.results import Localization, LocatedStructure
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import LabelMap, Source
from tests.support.fakes.stub_model import (
    SIGNATURE,
    VALUES,
    draw_ct,
    stub_model,
    template_set,
    true_mask,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MedLSAM:
    return stub_model(monkeypatch)


def segmenter_of(model: MedLSAM) -> Any:
    return model.segmenter


@pytest.mark.parametrize(
    "direction",
    [(1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, -1, 0, 0, 0, 1, 1, 0, 0)],
)
def test_labels_come_back_in_the_geometry_of_the_input(model: MedLSAM, direction: tuple[float, ...]) -> None:
    image = draw_ct(replace(GRID, direction=direction))
    found = model.segment(image, template_set())
    assert found.labels.grid == image.grid
    assert found.labels.array.dtype == np.uint8
    for name in ("block", "plate"):
        np.testing.assert_array_equal(found.labels.array == VALUES[name], true_mask(image, name))
    assert set(np.unique(found.labels.array)) == {0, 1, 7}
    assert found.names == {1: "block", 7: "plate", 300: "ghost"}
    assert found.warnings == ()


def test_an_oblique_scan_gets_labels_on_its_own_grid(model: MedLSAM) -> None:
    image = draw_ct(replace(GRID, direction=OBLIQUE))
    found = model.segment(image, template_set())
    assert found.labels.grid == image.grid
    assert found.labels.array.shape == image.array.shape


def test_a_missing_structure_costs_no_pass(model: MedLSAM) -> None:
    model.segment(draw_ct(GRID, without=["plate"]), template_set())
    assert {key.split("/")[0] for call in segmenter_of(model).calls for key in call} == {"block"}
    segmenter_of(model).calls.clear()
    empty = model.segment(draw_ct(GRID, without=["plate", "block"]), template_set())
    assert not segmenter_of(model).calls
    assert empty.labels.array.dtype == np.uint16  # the ghost's value would not fit uint8
    assert not empty.labels.array.any()


def test_only_the_organs_asked_for(model: MedLSAM) -> None:
    found = model.segment(draw_ct(GRID), template_set(), organs=["plate"])
    assert found.names == {7: "plate"}
    assert set(np.unique(found.labels.array)) == {0, 7}
    with pytest.raises(TemplateError, match="liver"):
        model.segment(draw_ct(GRID), template_set(), organs=["liver"])


def test_stages_are_timed(model: MedLSAM, tmp_path: Path) -> None:
    write_volume(draw_ct(GRID), tmp_path / "head_0000.nii.gz")
    stopwatch = Stopwatch()
    found = model.segment(tmp_path / "head_0000.nii.gz", template_set(), stopwatch=stopwatch)
    assert found.case == "head"
    assert set(found.seconds) == {"read", "embed", "locate", "prepare", "encode", "decode", "assemble"}
    assert found.seconds == stopwatch.seconds


def test_a_scan_that_is_embedded_already_is_not_embedded_again(model: MedLSAM) -> None:
    volume = draw_ct(GRID)
    embedding = model.embed(volume)
    first = model.segment(volume, template_set(), embedding=embedding)
    assert model.localizer.seen == 1  # type: ignore[attr-defined]
    assert "embed" not in first.seconds
    assert np.array_equal(first.labels.array, model.segment(volume, template_set()).labels.array)
    assert model.localizer.seen == 2  # type: ignore[attr-defined]


def test_templates_of_another_localizer_are_refused(model: MedLSAM) -> None:
    with pytest.raises(TemplateError, match=r"another localizer \(sha256 ffff.*build them again"):
        model.localize(draw_ct(GRID), template_set(signature="f" * 64))


def test_wrong_choices_are_told_before_any_work(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    with pytest.raises(UsageError, match="did you mean 'profile'"):
        model.segment(image, template_set(), prompts="profiles")
    with pytest.raises(UsageError, match="random-start"):
        model.segment(image, template_set(), search="random")
    assert model.localizer.seen == 0  # type: ignore[attr-defined]


def test_options_come_whole_or_one_by_one(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    chosen = InferenceOptions.of(organs=["plate"], prompts="wpl")
    found = model.segment(image, template_set(), chosen, organs=["block"])
    assert found.names == {1: "block"}
    assert model.localize(image, template_set(), chosen).structures.keys() == {"plate"}
    assert MedLSAM(model.localizer, options=chosen).localize(image, template_set()).structures.keys() == {
        "plate"
    }
    with pytest.raises(UsageError, match="device: this is chosen when the model is loaded"):
        model.segment(image, template_set(), device="cpu")
    with pytest.raises(UsageError, match="did you mean 'margin_mm'"):
        model.segment(image, template_set(), margin=2)


def test_a_path_that_means_several_scans_is_refused(model: MedLSAM, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_volume(draw_ct(GRID), tmp_path / f"{name}.nii.gz")
    with pytest.raises(UsageError, match=r"holds 2 scans \(a, b"):
        model.localize(tmp_path, template_set())


def test_random_streams_belong_to_the_scan() -> None:
    def draw(seed: int, case: str) -> float:
        return float(torch.rand(1, generator=case_generator(seed, case)))

    assert draw(0, "a") == draw(0, "a")
    assert len({draw(0, "a"), draw(0, "b"), draw(1, "a")}) == 3


# --- prompts


def structure(**changes: Any) -> LocatedStructure:
    box = Box((10.0, -10.0, 10.0), (30.0, 10.0, 20.0))
    rows = np.array([[0, 0, 0, 0.5, 1], [1, 0, 0, 0.5, 1]], np.float32)
    slabs = (
        Box((10.0, -10.0, 10.0), (20.0, 10.0, 15.0)),
        Box((20.0, -10.0, 15.0), (30.0, 10.0, 20.0)),
    )
    return replace(
        LocatedStructure(
            "organ", "found", 0.9, box=box, prompt_box=box.expand(9.0), profile=rows, slabs=slabs
        ),
        **changes,
    )


def millimetres(prompts: list[Any], grid: Grid) -> dict[float, list[float]]:
    """Slice height to x0, y0, x1, y1, all LPS mm."""
    found = {}
    for prompt in prompts:
        x0, y0, x1, y1 = prompt.box_xyxy
        low, high = grid.ijk_to_lps([[x0, y0, prompt.z], [x1, y1, prompt.z]])
        found[float(low[2])] = [*low[:2].tolist(), *high[:2].tolist()]
    return found


def test_each_kind_of_prompt_in_millimetres() -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    heights = [11.0, 13.0, 15.0, 17.0, 19.0]
    wide = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts="wpl", margin_mm=0.0)), grid)
    assert list(wide) == heights
    assert all(box == pytest.approx([10, -10, 30, 10]) for box in wide.values())
    narrow = millimetres(
        slice_prompts(structure(), grid, PromptOptions(prompts="profile", margin_mm=0.0)), grid
    )
    assert all(box == pytest.approx([10, -10, 20, 10]) for box in narrow.values())
    slabs = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts="spl", margin_mm=0.0)), grid)
    assert slabs[11.0] == pytest.approx([10, -10, 20, 10])
    assert slabs[19.0] == pytest.approx([20, -10, 30, 10])


@pytest.mark.parametrize("prompts", ["wpl", "profile", "spl"])
def test_the_margin_widens_slices_and_adds_none(prompts: str) -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    tight = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts=prompts, margin_mm=0.0)), grid)
    wide = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts=prompts, margin_mm=2.0)), grid)
    assert list(wide) == list(tight)
    assert wide[11.0][0] == pytest.approx(tight[11.0][0] - 2)
    assert wide[11.0][3] == pytest.approx(tight[11.0][3] + 2)


def test_a_replaced_box_moves_the_prompts() -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    other = structure(box=Box((0.0, 0.0, 0.0), (10.0, 4.0, 4.0)))
    found = millimetres(slice_prompts(other, grid, PromptOptions(prompts="profile", margin_mm=0.0)), grid)
    assert found == {1.0: pytest.approx([0, 0, 5, 4]), 3.0: pytest.approx([0, 0, 5, 4])}


def test_prompts_fall_back_and_say_so(model: MedLSAM) -> None:
    assert effective_prompts(structure(), "profile") == "profile"
    assert effective_prompts(structure(profile=None), "profile") == "spl"
    assert effective_prompts(structure(profile=None, slabs=()), "profile") == "wpl"
    assert effective_prompts(structure(slabs=()), "spl") == "wpl"
    image = draw_ct(GRID)
    found = model.localize(image, template_set())
    poor = {name: replace(o, profile=None) for name, o in found.structures.items()}
    result = model.segment_located(image, replace(found, structures=poor), VALUES)
    assert result.warnings == tuple(
        f"{name}: the templates hold nothing for profile prompts; used wpl" for name in ("block", "plate")
    )
    np.testing.assert_array_equal(result.labels.array == 1, true_mask(image, "block"))


def test_slabs_are_located_for_slab_prompts_only(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    assert model.segment(image, template_set(), prompts="spl").localization.structures["block"].slabs
    assert not model.segment(image, template_set()).localization.structures["block"].slabs


def test_a_box_outside_of_the_scan_is_a_warning(model: MedLSAM) -> None:
    far = LocatedStructure("block", "uncertain", 0.2, box=Box((900.0, 900.0, 900.0), (910.0, 910.0, 910.0)))
    result = model.segment_located(draw_ct(GRID), Localization("case", {"block": far}), VALUES, prompts="wpl")
    assert result.warnings == ("block: the located box lies outside of the scan; not segmented",)
    assert segmenter_of(model).calls == []


def test_a_structure_without_a_box_has_no_prompts() -> None:
    with pytest.raises(UsageError, match="organ is missing"):
        slice_prompts(structure(box=None, status="missing"), GRID)


def test_prompt_options_reach_the_segmenter(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    plain = model.segment(image, template_set(), margin_mm=0.0, propagate=False)
    (asked,) = segmenter_of(model).calls
    changes = {"shrink": 0.5, "center_point": True, "zoom": 2.0, "axes": "three", "shape_prompt": True}
    changes |= {"margin_mm": 0, "propagate": False}
    located = model.localize(image, template_set())
    shapes = {
        n: replace(o, shape_prior=np.ones((2, 2, 2), np.float32)) for n, o in located.structures.items()
    }
    segmenter_of(model).calls.clear()
    found = model.segment_located(image, replace(located, structures=shapes), VALUES, **changes)
    axial, coronal, sagittal = segmenter_of(model).calls
    for before, after in zip(asked["block"], axial["block"], strict=True):
        assert after.z == before.z
        assert after.box_xyxy[2] - after.box_xyxy[0] == pytest.approx(
            (before.box_xyxy[2] - before.box_xyxy[0]) / 2
        )
        assert after.point_xy is not None
        assert after.view_xyxy is not None
    assert {p.z for p in coronal["block"]} == set(range(6, 12))
    assert {p.z for p in sagittal["block"]} == set(range(5, 11))
    mask_prompt = segmenter_of(model).mask_prompts[-3]["block"]
    assert (mask_prompt.origin_zyx, mask_prompt.probability.shape) == ((4, 6, 5), (5, 6, 6))
    assert found.warnings == (
        "zoom: stub-segmenter always looks at crops around the boxes, as large as its weights want them",
    )
    assert plain.warnings == ()


def test_a_mean_shape_that_is_not_there_is_told(model: MedLSAM) -> None:
    found = model.segment(draw_ct(GRID), template_set(), shape_prompt=True)
    assert found.warnings == tuple(
        f"{name}: the templates hold no mean shape; segmented without shape_prompt"
        for name in ("block", "plate")
    )


def test_propagation_starts_from_what_the_slices_say(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    found = model.segment(image, template_set(), organs=["block"], propagate=True)
    np.testing.assert_array_equal(found.labels.array == 1, true_mask(image, "block"))
    steps = [set(call) for call in segmenter_of(model).calls[1:]]
    # all slices are equally certain: the first is taken, and there are four above it
    assert steps == [{"block/+1"}] * 4


# --- labels


def test_segment_cannot_see_a_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Which modules may import what reads labels is an import contract (pyproject.toml).
    for function in (MedLSAM.segment, MedLSAM.localize, medlsam.segment_folder, medlsam.localize_folder):
        parameters = inspect.signature(function).parameters
        assert not [p for p in parameters if re.search("label|mask|truth|reference|annot", p)]

    def forbidden(*_: object) -> None:
        raise AssertionError("a label map was read")

    for module in (medlsam.io.labels, medlsam.io.labelled_scans):
        monkeypatch.setattr(module, "read_label_map", forbidden)
    image = draw_ct(GRID)
    for folder, volume in (("imagesTr", image), ("labelsTr", LabelMap((image.array > 200) * 1, image.grid))):
        write_volume(volume, tmp_path / folder / ("a_0000.nii.gz" if folder == "imagesTr" else "a.nii.gz"))
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "block": 1}}))
    medlsam.batch.segment_folder(
        stub_model(monkeypatch), template_set(), tmp_path, tmp_path / "out", report=False
    )
    assert (tmp_path / "out" / "a" / "segmentation.nii.gz").is_file()


# --- templates


@pytest.fixture
def templates_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    for number, name in enumerate(("anna", "bert", "cleo")):
        image = draw_ct(GRID, seed=number)
        write_volume(image, folder / name / "image.nii.gz")
        labels = np.where(true_mask(image, "block"), 1, 0).astype(np.uint8)
        write_volume(LabelMap(labels, image.grid), folder / name / "labels.nii.gz")
    (folder / "labels.json").write_text('{"block": 1}')
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``build_templates`` was called with."""
    seen: dict[str, Any] = {}

    def build(localizer: Any, templates: Iterator[Template], names: Any, **more: Any) -> Any:
        assert not isinstance(templates, list)  # one scan in memory at a time
        seen.update(templates=list(templates), names=names, **more)
        return template_set(["block"])

    monkeypatch.setattr("medlsam.pipeline.model.build_templates", build)
    return seen


def test_templates_of_a_folder(model: MedLSAM, templates_folder: Path, built: dict[str, Any]) -> None:
    model.templates(templates_folder, organs=["block"], cases=["cleo", "anna"])
    assert [template.name for template in built["templates"]] == ["cleo", "anna"]
    assert built["names"] == {1: "block"}
    assert built["organs"] == ["block"]
    template = built["templates"][0]
    np.testing.assert_array_equal(template.labels.array == 1, true_mask(template.image, "block"))


def test_templates_by_a_list_in_a_file(model: MedLSAM, templates_folder: Path, built: dict[str, Any]) -> None:
    (templates_folder.parent / "splits.json").write_text('{"few": ["bert"]}')
    model.templates(templates_folder, cases=f"{templates_folder.parent / 'splits.json'}:few")
    assert [template.name for template in built["templates"]] == ["bert"]


def test_a_network_is_named_by_its_option() -> None:
    with pytest.raises(UsageError, match=r"medlsam.load\(localizer='medlam-tiny'\)"):
        load("medlam-tiny")  # type: ignore[arg-type]


def test_an_unknown_template_is_named(model: MedLSAM, templates_folder: Path) -> None:
    with pytest.raises(TemplateError, match=r"no template 'ana' \(did you mean 'anna'"):
        model.templates(templates_folder, cases=["ana"])


def test_templates_of_a_file(model: MedLSAM, tmp_path: Path) -> None:
    path = tmp_path / "set.medlsam"
    template_set().save(path)
    assert model.templates(path).structures == ("block", "plate", "ghost")
    assert model.templates(path, organs=["plate"]).structures == ("plate",)
    with pytest.raises(UsageError, match="not from a file"):
        model.templates(path, cases=["anna"])
    with pytest.raises(TemplateError, match="there is no such"):
        model.templates(tmp_path / "absent.medlsam")
    template_set(signature="0" * 64).save(path)
    with pytest.raises(TemplateError, match="another localizer"):
        model.templates(path)


# --- loading


def test_a_wrong_segmenter_is_told_when_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_localizer(*_: object) -> None:
        raise AssertionError("the localizer is loaded before the names are checked")

    monkeypatch.setattr("medlsam.pipeline.model.load_localizer", no_localizer)
    with pytest.raises(WeightsError, match="sam-tinny"):
        load(segmenter="sam-tinny")
    with pytest.raises(WeightsError, match="medlam-tiny is a localizer"):
        load(segmenter="medlam-tiny")


def test_the_segmenter_is_loaded_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = stub_model(monkeypatch)
    loaded = []

    def load_segmenter(name: str, device: str, precision: str) -> Any:
        loaded.append((name, device))
        return stub.segmenter

    monkeypatch.setattr("medlsam.pipeline.model.load_segmenter", load_segmenter)
    model = MedLSAM(stub.localizer)
    model.localize(draw_ct(GRID), template_set())
    assert loaded == []
    model.segment(draw_ct(GRID), template_set())
    model.segment(draw_ct(GRID), template_set())
    assert loaded == [("sam-tiny", "cpu")]
    assert model.localizer_weights == {"name": "stub", "sha256": SIGNATURE}


# --- notebooks


def test_results_draw_themselves(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    found = model.segment(replace(image, source=Source(Path("<b>.nii.gz"))), template_set())
    page_of_segmentation = found._repr_html_()
    for page in (page_of_segmentation, found.localization._repr_html_()):
        assert "&lt;b&gt;" in page
        assert "ghost" in page
        assert "missing" in page
        picture = re.search(r'src="data:image/png;base64,([^"]+)"', page)
        assert picture is not None
        assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
        assert "plate</td><td>found</td><td>0.90" in page
    assert "<td>4.4</td>" in page_of_segmentation  # 585 voxels of 7.5 mm3


def test_results_without_the_scan_show_their_table(model: MedLSAM) -> None:
    found = model.segment(draw_ct(GRID), template_set())
    for page in (
        replace(found, image=None)._repr_html_(),
        replace(found.localization, image=None)._repr_html_(),
        model.segment(draw_ct(GRID, without=["block", "plate"]), template_set())._repr_html_(),
    ):
        assert "<table>" in page
        assert "<img" not in page
