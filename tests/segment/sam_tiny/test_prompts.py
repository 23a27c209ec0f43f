"""Prompts of sam-tiny: boxes and their errors, points, and boxes as wrong as located ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medlsam.geometry import Grid
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.sam_tiny.network import TinySam
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.segment.sam_tiny.train import start_weights
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig, located_errors, move_box
from medlsam.volume import Image
from medlsam.weights.store import save_weights
from tests.support.data.tiny_data import SMALL
from tests.support.paths import ROOT

SURE = torch.zeros(1)


@pytest.fixture(scope="module")
def net() -> TinySam:
    torch.manual_seed(0)
    return TinySam(SMALL).eval()


def test_the_encoder_sees_the_box_and_how_sure_it_is(net: TinySam) -> None:
    crops = torch.randn(1, 5, 64, 64)
    boxes = torch.tensor([[10.0, 10, 30, 30]])
    other = torch.tensor([[30.0, 30, 60, 60]])
    with torch.inference_mode():
        first = net.encode(crops, boxes, SURE)[0]
        assert not torch.allclose(first, net.encode(crops, other, SURE)[0])
        assert not torch.allclose(first, net.encode(crops, boxes, SURE + 4)[0])


def test_masks_are_as_fine_as_the_crop(net: TinySam) -> None:
    boxes = torch.tensor([[10.0, 10, 30, 30]])
    with torch.inference_mode():
        assert net(torch.randn(1, 5, 64, 64), boxes, SURE)[0].shape == (1, 64, 64)


def test_points_change_the_answer_and_missing_ones_are_alike(net: TinySam) -> None:
    crops, boxes = torch.randn(2, 5, 64, 64), torch.tensor([[10.0, 10, 30, 30]]).expand(2, -1)
    none = torch.tensor([[0.0, 0, -1], [0, 0, -1]]).expand(2, -1, -1).clone()
    elsewhere, inside = none.clone(), none.clone()
    elsewhere[..., :2] = 33.0
    inside[:, 0] = torch.tensor([20.0, 20, 1])
    with torch.inference_mode():
        first, second, third = (
            net(crops, boxes, SURE.expand(2), None, points)[0] for points in (none, elsewhere, inside)
        )
    assert torch.allclose(first, second)
    assert not torch.allclose(first, third)


def test_a_file_that_lacks_layers_starts_a_network_that_has_them(net: TinySam, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in net.state_dict().items() if "refine" not in name}
    config = {**vars(SMALL), "windows": [list(w) for w in SMALL.windows]}
    save_weights(tmp_path / "old.safetensors", state, config, "segmenter", half=False)
    new = TinySam(SMALL).eval()  # what refines says nothing yet, in both
    new.load_state_dict(start_weights(tmp_path / "old.safetensors", new))
    crops, boxes = torch.randn(1, 5, 64, 64), torch.tensor([[10.0, 10, 30, 30]])
    with torch.inference_mode():
        assert torch.equal(net(crops, boxes, SURE)[0], new(crops, boxes, SURE)[0])


def test_located_errors_are_drawn_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    file = tmp_path / "errors.json"
    file.write_text(json.dumps({"errors_mm": [[3, 3, 3, 3, 3, 3]]}))
    assert located_errors(str(file)).shape == (1, 6)
    sampling = SamplingConfig(exact=0, jittered=0, errors=str(file), scale=(1, 1), located_error_mm=5)
    box = np.array([0.0, 0, 0, 100, 100, 100])
    moved, error = move_box(box, sampling, rng)
    assert moved == pytest.approx([-3, -3, -3, 103, 103, 103])
    assert error == 5
    small = np.array([0.0, 0, 5, 5])
    assert move_box(small, sampling, rng)[0] == pytest.approx([-2, -2, 7, 7])  # at most 40 % of the edge


def test_the_error_told_is_that_of_the_sides() -> None:
    rng = np.random.default_rng(2)
    box = np.array([0.0, 0, 50, 50])
    sampling = SamplingConfig(exact=0, jittered=1)
    drawn = [move_box(box, sampling, rng) for _ in range(4000)]
    off = np.concatenate([(moved - box) / error for moved, error in drawn])
    assert off.std() == pytest.approx(1, abs=0.03)
    assert move_box(box, SamplingConfig(exact=1), rng)[1] == 0


def test_the_shipped_errors_are_there() -> None:
    errors = located_errors(str(ROOT / "configs" / "box_errors.json"))
    assert errors.shape[1] == 6
    assert len(errors) > 200
    assert np.abs(np.median(errors)) < 3


def test_what_prompts_say_reaches_the_network_in_crop_pixels(
    net: TinySam, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = TinySegmenter(net)
    scan = Image(np.zeros((4, 60, 60), np.int16), Grid((4, 60, 60), (2.0, 2.0, 3.0)))
    plain = SlicePrompt(1, (20.0, 20.0, 40.0, 30.0))
    asked = [plain, replace(plain, point_xy=(25.0, 25.0)), replace(plain, error_mm=0.0)]
    given: dict[str, torch.Tensor | None] = {}

    def spy(name: str) -> None:
        real = getattr(net, name)

        def called(*arguments: Any) -> Any:
            given[name] = arguments[-1]  # errors, or points
            return real(*arguments)

        monkeypatch.setattr(segmenter.quick, name, called)

    spy("encode")
    spy("decode")
    segmenter.segment(scan, {"a": asked})
    pixels_a_mm = SMALL.size / (1.9 * 40)  # the crop is 1.9 boxes of 40 mm wide
    torch.testing.assert_close(given["encode"], torch.tensor([6.0, 6.0, 0.0]) * pixels_a_mm)
    points = given["decode"]
    assert points is not None
    # 10 mm left of the box's centre, which is the crop's
    torch.testing.assert_close(points[1, 0], torch.tensor([32 - 10 * pixels_a_mm, 32.0, 1.0]))
    assert points[[0, 2], 0, 2].tolist() == [-1, -1]
    segmenter.segment(scan, {"a": [plain]})
    assert given["decode"] is None


def test_exact_boxes_are_not_moved(net: TinySam, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Image(np.zeros((4, 60, 60), np.int16), Grid((4, 60, 60), (2.0, 2.0, 3.0)))
    segmenter = TinySegmenter(net)
    real, passes = segmenter.quick.encode, list[torch.Tensor]()

    def encode(crops: torch.Tensor, boxes: torch.Tensor, errors: torch.Tensor) -> Any:
        passes.append(errors)
        return real(crops, boxes, errors)

    def fill(embedding: Any, boxes: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(boxes), SMALL.size, SMALL.size), 50.0), torch.ones(len(boxes))

    monkeypatch.setattr(segmenter.quick, "encode", encode)
    monkeypatch.setattr(segmenter.quick, "decode", fill)
    located = [SlicePrompt(z, (20.0, 20.0, 40.0, 30.0)) for z in (1, 2)]
    exact = [replace(prompt, error_mm=0.0) for prompt in located]
    segmenter.segment(scan, {"located": located, "exact": exact})
    assert [len(errors) for errors in passes] == [4, 2]  # the masks fill the crops, far beyond the boxes
    assert (passes[1] > 0).all(), "only the located boxes are segmented again"
