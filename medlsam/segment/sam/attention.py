"""Compute segment-anything's image-encoder attention with ``scaled_dot_product_attention``: same numbers, faster.

As published, each of the four global layers of ViT-B at 1024 pixels writes the 12 x 4096 x 4096 matrix of its attention
several times: product, bias, softmax. Each copy has 800 MB, and writing it takes a CPU longer than the arithmetic.
torch's fused kernel never writes that matrix; it takes the relative-position bias as a mask, which is computed here for
a few heads at a time. Parameters keep their names, so checkpoints still fit.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from medlsam.segment.sam._import import sam_parts

#: Entries of the bias in memory at a time: 128 MB in float32, two heads of a global layer.
MOST_BIAS = 2**25


class FusedAttention(nn.Module):
    """A replacement for segment-anything's ``Attention``, with the same parameters.

    Args:
        published: the layer to replace; its parameters are shared, not copied.
    """

    def __init__(self, published: Any) -> None:
        super().__init__()
        self.num_heads: int = published.num_heads
        self.use_rel_pos: bool = published.use_rel_pos
        self.qkv: nn.Module = published.qkv
        self.proj: nn.Module = published.proj
        if self.use_rel_pos:
            self.rel_pos_h: nn.Parameter = published.rel_pos_h
            self.rel_pos_w: nn.Parameter = published.rel_pos_w

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) tokens to (B, H, W, C)."""
        batch, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        # (B * heads, 1, tokens, C): the kernel takes masks of four dimensions
        q, k, v = qkv.permute(2, 0, 3, 1, 4).flatten(1, 2).unsqueeze(2).unbind(0)
        at_once = max(1, MOST_BIAS // (height * width) ** 2) if self.use_rel_pos else len(q)
        parts = [
            F.scaled_dot_product_attention(own, keys, values, attn_mask=self._bias(own[:, 0], height, width))
            for own, keys, values in zip(q.split(at_once), k.split(at_once), v.split(at_once), strict=True)
        ]
        joined = torch.cat(parts).reshape(batch, self.num_heads, height, width, -1)
        mixed: Tensor = self.proj(joined.permute(0, 2, 3, 1, 4).reshape(batch, height, width, -1))
        return mixed

    def _bias(self, q: Tensor, height: int, width: int) -> Tensor | None:
        """Compute the relative-position bias (N, 1, tokens, tokens) of queries (N, tokens, C), unscaled."""
        if not self.use_rel_pos:
            return None
        rel_pos = sam_parts().modeling.image_encoder.get_rel_pos
        rows = rel_pos(height, height, self.rel_pos_h)
        columns = rel_pos(width, width, self.rel_pos_w)
        places = q.unflatten(1, (height, width))
        along_h = torch.einsum("nhwc,hkc->nhwk", places, rows).contiguous()
        along_w = torch.einsum("nhwc,wkc->nhwk", places, columns).contiguous()
        bias = along_h[..., :, None] + along_w[..., None, :]
        return bias.view(len(q), 1, height * width, height * width)


def fuse_attention(network: nn.Module) -> nn.Module:
    """Replace the attention in every block of a ``Sam`` with a ViT encoder; other encoders stay as they are.

    Args:
        network: segment-anything's ``Sam``; changed in place.

    Returns:
        ``network``.
    """
    published = sam_parts().modeling.image_encoder.Attention
    for module in list(network.modules()):
        own = getattr(module, "attn", None)
        if isinstance(own, published):
            module.attn = FusedAttention(own)
    return network
