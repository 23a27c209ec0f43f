"""The network of sam-tiny."""

from __future__ import annotations

import torch

from medlsam.segment.sam_tiny.network import TinySam
from tests.support.data.tiny_data import SMALL


def test_shapes_and_batch_invariance() -> None:
    torch.manual_seed(0)
    net = TinySam(SMALL).eval()
    crops, boxes = torch.randn(3, SMALL.channels, 64, 64), torch.tensor([[16.0, 16, 48, 40]]).repeat(3, 1)
    errors, mask_prompts = torch.tensor([0.0, 3, 6]), torch.full((3, 32, 32), torch.nan)
    mask_prompts[1] = 0.8
    with torch.inference_mode():
        together, quality = net(crops, boxes, errors, mask_prompts)
        ones = [slice(i, i + 1) for i in range(3)]
        alone = torch.cat([net(crops[i], boxes[i], errors[i], mask_prompts[i])[0] for i in ones])
        without = net(crops, boxes, errors)[0]
    assert together.shape == (3, 64, 64)
    assert quality.shape == (3,)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together[::2], without[::2], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[1], without[1], atol=1e-3)


def test_the_box_matters() -> None:
    torch.manual_seed(0)
    net = TinySam(SMALL).eval()
    crops = torch.randn(1, SMALL.channels, 64, 64)
    one, other = (
        net(crops, torch.tensor([b]), torch.zeros(1))[0] for b in ([8.0, 8, 30, 30], [30.0, 30, 60, 60])
    )
    assert not torch.allclose(one, other, atol=1e-3)


def test_segment_anything_is_in_the_path() -> None:
    modules = {type(module).__name__ for module in TinySam(SMALL).modules()}
    assert {"PromptEncoder", "MaskDecoder", "TwoWayTransformer"} <= modules
