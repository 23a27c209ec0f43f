"""The dense encoder: one pass gives every cell a latent position and every voxel features.

The paper (MedLSAM, section 2.1) runs a patch network with fully connected layers. This one is fully
convolutional with batch normalisation and no spatial statistics, so that training on crops and inference
on whole scans are the same function (away from the borders), and its cost does not depend on how many
structures are looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that is needed to build the encoder and to prepare its input.

    Attributes:
        spacing_mm: isotropic voxel spacing of the input grid.
        channels: widths at strides 2, 4, 8 and 16.
        blocks: residual blocks at those strides.
        fine_channels: decoder width at stride 2.
        feature_dim: length of the unit feature vectors, the same at all three scales.
        range_mm: r of the paper's equation 2 as (x, y, z): the largest offset that tanh can give.
        hu_knots: HU values that are mapped piecewise linearly to ``hu_values``.
        hu_values: see ``hu_knots``.
    """

    spacing_mm: float = 4.0
    channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)
    fine_channels: int = 32
    feature_dim: int = 32
    range_mm: tuple[float, float, float] = (600.0, 600.0, 1500.0)
    hu_knots: tuple[float, ...] = (-1000.0, -200.0, 200.0, 1500.0)
    hu_values: tuple[float, ...] = (0.0, 0.2, 0.8, 1.0)


#: Strides of the three feature scales, coarse to fine, in the order of ``EncoderOutput.features``.
FEATURE_STRIDES = (8, 4, 2)
POSITION_STRIDE = 8
#: Input sizes must be multiples of this.
SIZE_MULTIPLE = 16


@dataclass(frozen=True)
class EncoderOutput:
    """What one pass gives.

    Attributes:
        positions: (B, 3, Z/8, Y/8, X/8) latent positions, channels (x, y, z).
        features: three (B, C, Z/s, Y/s, X/s) maps of unit vectors at strides 8, 4 and 2.
    """

    positions: Tensor
    features: tuple[Tensor, Tensor, Tensor]


def normalise_hu(hu: Tensor, config: EncoderConfig) -> Tensor:
    """Map HU to about 0..1, piecewise linearly through the configured knots (clamped outside).

    Args:
        hu: any shape, HU.
        config: holds the knots.
    """
    knots, values = config.hu_knots, config.hu_values
    hu = hu.float()
    out = torch.full_like(hu, values[0])
    for low, high, a, b in zip(knots, knots[1:], values, values[1:], strict=False):
        out += (hu.clamp(low, high) - low) * ((b - a) / (high - low))
    return out


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm3d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


class _Up(nn.Module):
    """Upsample by two, add the skip, mix."""

    def __init__(self, coarse: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.coarse = nn.Conv3d(coarse, outputs, 1)
        self.skip = nn.Conv3d(skip, outputs, 1)
        self.mix = _conv(outputs, outputs)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        up = F.interpolate(self.coarse(coarse), scale_factor=2, mode="trilinear", align_corners=False)
        mixed: Tensor = self.mix(up + self.skip(skip))
        return mixed


def fast_layout(encoder: Encoder) -> Encoder:
    """Convert the weights to ``channels_last_3d``, which halves the time of 3D convolutions on CPUs."""
    return encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


class Encoder(nn.Module):
    """Input (B, 1, Z, Y, X), normalised HU on a grid of ``config.spacing_mm``, sizes multiples of 16.

    Returns:
        EncoderOutput: latent positions at stride 8, unit features at strides 8, 4 and 2.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or EncoderConfig()
        widths, depths = self.config.channels, self.config.blocks
        self.stem = _conv(8, widths[0])
        downs, stages = [], []
        for level, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            downs.append(_conv(widths[level - 1], width, stride=2) if level else nn.Identity())
            stages.append(nn.Sequential(*[_Residual(width) for _ in range(depth)]))
        self.downs, self.stages = nn.ModuleList(downs), nn.ModuleList(stages)
        fine = self.config.fine_channels
        self.up8 = _Up(widths[3], widths[2], widths[2])
        self.up4 = _Up(widths[2], widths[1], widths[1])
        self.up2 = _Up(widths[1], widths[0], fine)
        dim = self.config.feature_dim
        self.heads = nn.ModuleList([nn.Conv3d(width, dim, 1) for width in (widths[2], widths[1], fine)])
        self.position = nn.Sequential(
            nn.Conv3d(widths[2], widths[2], 1), nn.ReLU(inplace=True), nn.Conv3d(widths[2], 3, 1)
        )

    def forward(self, x: Tensor) -> EncoderOutput:
        """See the class."""
        if any(size % SIZE_MULTIPLE for size in x.shape[2:]):
            raise ValueError(
                f"sizes must be multiples of {SIZE_MULTIPLE}, got (Z, Y, X) = {tuple(x.shape[2:])}"
            )
        # Space to depth: the first convolution already works at stride 2, where memory traffic is an eighth.
        x = rearrange(x, "b 1 (z p) (y q) (x r) -> b (p q r) z y x", p=2, q=2, r=2)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))
            skips.append(x)
        at8 = self.up8(skips[3], skips[2])
        at4 = self.up4(at8, skips[1])
        at2 = self.up2(at4, skips[0])
        first, second, third = (
            F.normalize(head(level).float(), dim=1)
            for head, level in zip(self.heads, (at8, at4, at2), strict=True)
        )
        return EncoderOutput(self.position(at8).float(), (first, second, third))
