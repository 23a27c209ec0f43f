"""The whole way of one scan with stub networks: geometry, options, labels that are not read, loading."""

from __future__ import annotations

import inspect
import json
import re
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
from medlsam.geometry import Grid, mask_box
from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM, load
from medlsam.pipeline.scan import case_generator
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import LabelMap
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


def segmenter_of(model: MedLSAM) -> Any:
    return model.segmenter


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), (0, -1, 0, 0, 0, 1, 1, 0, 0)])
def test_the_box_of_a_segmentation_is_that_of_its_mask(model: MedLSAM, direction: tuple[float, ...]) -> None:
    image = draw_ct(replace(GRID, direction=direction))
    truth = mask_box(true_mask(image, "block"), image.grid)
    given = truth.expand(3)
    located = model.localize(image, template_set())
    moved = replace(located.structures["block"], box=given, located_box=given, prompt_box=given)
    structures = {**located.structures, "block": moved}
    found = model.segment_located(image, replace(located, structures=structures), VALUES).localization
    block = found.structures["block"]
    assert block.box is not None
    np.testing.assert_allclose(block.box.faces, truth.faces, atol=1e-6)
    assert (block.located_box, block.prompt_box) == (given, given)
    assert found.structures["ghost"].box is None
    entry = found.to_dict()["organs"]["block"]
    assert entry["box"] == truth.to_dict()
    assert entry["located_box"] == given.to_dict()


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


def test_a_network_is_named_by_its_option() -> None:
    with pytest.raises(UsageError, match=r"medlsam.load\(localizer='medlam-tiny'\)"):
        load("medlam-tiny")  # type: ignore[arg-type]


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

    monkeypatch.setattr("medlsam.pipeline.decoder.load_segmenter", load_segmenter)
    model = MedLSAM(stub.localizer)
    model.localize(draw_ct(GRID), template_set())
    assert loaded == []
    model.segment(draw_ct(GRID), template_set())
    model.segment(draw_ct(GRID), template_set())
    assert loaded == [("sam-tiny", "cpu")]
    assert model.localizer_weights == {"name": "stub", "sha256": SIGNATURE}
