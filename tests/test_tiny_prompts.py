"""What sam-tiny is asked: boxes drawn into its input, points, and boxes that are as wrong as located ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medlsam.segment.tiny_boxes import SamplingConfig, located_errors, move_box
from medlsam.segment.tiny_net import TinyConfig, TinySam, box_shares
from medlsam.segment.tiny_weights import start_weights
from medlsam.weights.store import save_weights

SMALL = TinyConfig(
    size=64, stem=8, quarter=8, eighth=16, sixteenth=16, dim=32, heads=4, mlp=32, box_channel=True
)


@pytest.fixture(scope="module")
def net() -> TinySam:
    torch.manual_seed(0)
    return TinySam(SMALL).eval()


def test_a_box_is_drawn_to_fractions_of_a_pixel() -> None:
    drawn = box_shares(torch.tensor([[1.0, 0.5, 3.0, 2.0], [-5.0, 2.0, 9.0, 3.0]]), 4)
    assert drawn.shape == (2, 4, 4)
    assert torch.equal(drawn[0], torch.tensor([[0, 0.5, 0.5, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]))
    assert torch.equal(drawn[1], torch.tensor([[0.0] * 4, [0.0] * 4, [1.0] * 4, [0.0] * 4]))


def test_the_encoder_sees_the_box_only_where_it_is_a_channel(net: TinySam) -> None:
    crops = torch.randn(1, 5, 64, 64)
    boxes = torch.tensor([[10.0, 10, 30, 30]])
    other = torch.tensor([[30.0, 30, 60, 60]])
    with torch.inference_mode():
        assert not torch.allclose(net.encode(crops, boxes)[0], net.encode(crops, other)[0])
        plain = TinySam(TinyConfig(**{**vars(SMALL), "box_channel": False})).eval()
        assert torch.equal(plain.encode(crops, boxes)[0], plain.encode(crops, other)[0])


def test_points_change_the_answer_and_missing_ones_are_alike(net: TinySam) -> None:
    crops, boxes = torch.randn(2, 5, 64, 64), torch.tensor([[10.0, 10, 30, 30]]).expand(2, -1)
    none = torch.tensor([[0.0, 0, -1], [0, 0, -1]]).expand(2, -1, -1).clone()
    elsewhere, inside = none.clone(), none.clone()
    elsewhere[..., :2] = 33.0
    inside[:, 0] = torch.tensor([20.0, 20, 1])
    with torch.inference_mode():
        first, second, third = (net(crops, boxes, None, points)[0] for points in (none, elsewhere, inside))
    assert torch.allclose(first, second)
    assert not torch.allclose(first, third)


def test_a_file_without_box_channel_starts_one_that_has_it(net: TinySam, tmp_path: Path) -> None:
    old = TinySam(TinyConfig(**{**vars(SMALL), "box_channel": False})).eval()
    config = {**vars(old.config), "windows": [list(w) for w in old.config.windows]}
    save_weights(tmp_path / "old.safetensors", old.state_dict(), config, "segmenter", half=False)
    new = TinySam(SMALL).eval()
    new.load_state_dict(start_weights(tmp_path / "old.safetensors", new))
    crops, boxes = torch.randn(1, 5, 64, 64), torch.tensor([[10.0, 10, 30, 30]])
    with torch.inference_mode():
        assert torch.allclose(old(crops, boxes)[0], new(crops, boxes)[0], atol=1e-5)


def test_located_errors_are_drawn_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    file = tmp_path / "errors.json"
    file.write_text(json.dumps({"errors_mm": [[3, 3, 3, 3, 3, 3]]}))
    assert located_errors(str(file)).shape == (1, 6)
    sampling = SamplingConfig(exact=0, jittered=0, errors=str(file))
    box = np.array([0.0, 0, 0, 100, 100, 100])
    assert move_box(box, sampling, rng) == pytest.approx([-3, -3, -3, 103, 103, 103])
    small = np.array([0.0, 0, 5, 5])
    assert move_box(small, sampling, rng) == pytest.approx([-2, -2, 7, 7])  # at most 40 % of the edge


def test_the_shipped_errors_are_there() -> None:
    errors = located_errors(str(Path(__file__).parents[1] / "configs" / "box_errors.json"))
    assert errors.shape[1] == 6
    assert len(errors) > 200
    assert np.abs(np.median(errors)) < 3
