"""Fused attention gives what segment-anything's own gives, from the same parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medlsam.segment.sam import attention as sam_attention
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.attention import FusedAttention, fuse_attention


def published(**options: Any) -> nn.Module:
    """segment-anything's layer with random parameters, positions included (they begin at zero)."""
    torch.manual_seed(0)
    layer: nn.Module = sam_parts().modeling.image_encoder.Attention(48, num_heads=4, **options)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape) / 4
    return layer.eval().requires_grad_(False)


@pytest.mark.parametrize("most", [2**25, 1])  # all heads at once, and one at a time
@pytest.mark.parametrize(
    "options", [{}, {"use_rel_pos": True, "input_size": (6, 7)}, {"use_rel_pos": True, "input_size": (9, 9)}]
)
def test_the_same_numbers(options: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # tables for another size are interpolated, as published
    monkeypatch.setattr(sam_attention, "MOST_BIAS", most)
    layer = published(**options)
    tokens = torch.randn(2, 6, 7, 48)
    torch.testing.assert_close(FusedAttention(layer)(tokens), layer(tokens), atol=1e-5, rtol=1e-5)


def test_every_block_of_an_encoder_is_replaced_and_its_weights_keep_their_names() -> None:
    encoder = sam_parts().modeling.ImageEncoderViT(
        img_size=64, embed_dim=24, depth=2, num_heads=2, out_chans=8, use_rel_pos=True, window_size=3,
        global_attn_indexes=(1,),
    ).eval()  # fmt: skip
    picture = torch.randn(1, 3, 64, 64)
    names = list(encoder.state_dict())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        expected = encoder(picture)
        fuse_attention(encoder)
        assert all(isinstance(block.attn, FusedAttention) for block in encoder.blocks)
        torch.testing.assert_close(encoder(picture), expected, atol=1e-5, rtol=1e-5)
    assert list(encoder.state_dict()) == names
