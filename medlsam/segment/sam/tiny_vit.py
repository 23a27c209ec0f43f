"""TinyViT-5M, the image encoder of MobileSAM and of LiteMedSAM, with the names of their checkpoints.

TinyViT (Wu et al., ECCV 2022, section 3.2) has four stages: convolutions at full width, then attention in windows.
MobileSAM (Zhang et al. 2023) changed it in two places to give SAM's 64 x 64 embedding: the last merging keeps the
resolution, and SAM's neck replaces the classifier. LiteMedSAM took that over for pictures of a sixteenth of the area:
its first two convolutions cover single pixels and keep the resolution.

For inference only: drop path and the classifier of the pretraining are left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

_WIDTHS = (64, 128, 160, 320)
_DEPTHS = (2, 2, 6, 2)
# Heads of the last three stages, 32 channels each; the first stage has no attention.
_HEADS = (4, 5, 10)
_WINDOWS = (7, 14, 7)
_MERGING_STRIDES = (2, 2, 1)
_EXPANSION = 4
#: Channels and side of the embedding, the same for all models of the SAM family.
EMBEDDING, GRID = 256, 64


class _ConvNorm(nn.Sequential):
    """Convolution without bias, then batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(OrderedDict(c=convolution, bn=nn.BatchNorm2d(outputs)))


class _Bottleneck(nn.Module):
    """A residual block on (B, C, H, W) that widens, convolves channel by channel and narrows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * _EXPANSION
        self.conv1 = _ConvNorm(width, hidden)
        self.conv2 = _ConvNorm(hidden, hidden, kernel=3, groups=hidden)
        self.conv3 = _ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(x + self.conv3(inner))


class _Merging(nn.Module):
    """The transition from one stage's width and resolution to the next one's."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(inputs, outputs)
        self.conv2 = _ConvNorm(outputs, outputs, kernel=3, stride=stride, groups=outputs)
        self.conv3 = _ConvNorm(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return merged


class _WindowAttention(nn.Module):
    """Attention among the cells of a window, with a learned bias for each distance |dy|, |dx| and head."""

    bias_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        # One row of all heads for each distance, in the order of a raster of |dy| by |dx|.
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        distance = (cells[:, None] - cells[None]).abs()
        index = distance[..., 0] * window + distance[..., 1]
        self.register_buffer("bias_index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows of (B, C, H, W); zeros pad the last windows and take part."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.window, 0, -height % self.window))
        rows = x.shape[-2] // self.window
        cells = rearrange(
            x, "b c (ny h) (nx w) -> (b ny nx) (h w) c", h=self.window, w=self.window
        ).contiguous()
        # A head's query, key and value lie side by side in the checkpoints.
        query, key, value = rearrange(
            self.qkv(self.norm(cells)), "b n (h t d) -> t b h n d", h=self.heads, t=3
        )
        bias = self.attention_biases[:, self.bias_index].to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[None])
        cells = self.proj(rearrange(mixed, "b h n d -> b n (h d)"))
        columns = x.shape[-1] // self.window
        x = rearrange(
            cells, "(b ny nx) (h w) c -> b c (ny h) (nx w)", ny=rows, nx=columns, h=self.window, w=self.window
        )
        return x[..., :height, :width]


class _Block(nn.Module):
    """Window attention, a convolution across windows, and a perceptron for each cell, on (B, C, H, W)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = _WindowAttention(width, heads, window)
        layers = OrderedDict[str, nn.Module](
            norm=nn.LayerNorm(width),
            fc1=nn.Linear(width, width * _EXPANSION),
            act=nn.GELU(),
            fc2=nn.Linear(width * _EXPANSION, width),
        )
        self.mlp = nn.Sequential(layers)
        self.local_conv = _ConvNorm(width, width, kernel=3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_conv(x + self.attn(x))
        each: Tensor = self.mlp(x.permute(0, 2, 3, 1))
        return x + each.permute(0, 3, 1, 2)


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each cell of a map (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = super().forward(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class TinyVit(nn.Module):
    """An image encoder: pictures (B, 3, S, S) to embeddings (B, 256, 64, 64).

    Attributes:
        img_size: S, under the name that segment-anything's classes read.

    Args:
        img_size: 1024 for MobileSAM's network (a stem of two strides of 2), 256 for LiteMedSAM's (a stem of single
            pixels).

    Raises:
        ValueError: another size.
    """

    def __init__(self, img_size: int) -> None:
        super().__init__()
        # The three stages after the stem shrink by four together.
        if img_size not in (16 * GRID, 4 * GRID):
            raise ValueError(
                f"TinyViT is known for pictures of {16 * GRID} and {4 * GRID} pixels, not {img_size}"
            )
        self.img_size = img_size
        kernel, stride = (3, 2) if img_size == 16 * GRID else (1, 1)
        stem = nn.Sequential(
            _ConvNorm(3, _WIDTHS[0] // 2, kernel, stride),
            nn.GELU(),
            _ConvNorm(_WIDTHS[0] // 2, _WIDTHS[0], kernel, stride),
        )
        self.patch_embed = nn.Sequential(OrderedDict(seq=stem))
        self.layers = nn.Sequential(*(_stage(number) for number in range(len(_WIDTHS))))
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], EMBEDDING, 1, bias=False),
            _ChannelNorm(EMBEDDING, eps=1e-6),
            nn.Conv2d(EMBEDDING, EMBEDDING, 3, padding=1, bias=False),
            _ChannelNorm(EMBEDDING, eps=1e-6),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Embed (B, 3, S, S) pictures, prepared as the model's registry entry says."""
        embedding: Tensor = self.neck(self.layers(self.patch_embed(pictures)))
        return embedding


def _stage(number: int) -> nn.Sequential:
    """Build one of the four stages: its blocks, and the merging into the next one's width."""
    width, depth = _WIDTHS[number], _DEPTHS[number]
    blocks: list[nn.Module]
    if number == 0:
        blocks = [_Bottleneck(width) for _ in range(depth)]
    else:
        blocks = [_Block(width, _HEADS[number - 1], _WINDOWS[number - 1]) for _ in range(depth)]
    parts: OrderedDict[str, nn.Module] = OrderedDict(blocks=nn.Sequential(*blocks))
    if number < len(_MERGING_STRIDES):
        parts["downsample"] = _Merging(width, _WIDTHS[number + 1], _MERGING_STRIDES[number])
    return nn.Sequential(parts)
