"""The dense encoder: one pass gives every cell a latent position and every voxel features.

The paper (MedLSAM, section 2.1) runs a patch network with fully connected layers. This one is fully
convolutional with batch normalisation and no spatial statistics, so that training on crops and inference
on whole scans are the same function (away from the borders), and its cost does not depend on how many
structures are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class EncoderConfig:
    """All settings needed to build the encoder and to prepare its input.

    Attributes:
        spacing_mm: isotropic voxel spacing of the input grid.
        channels: widths at strides 2, 4, 8 and 16.
        blocks: residual blocks at those strides.
        fine_channels: decoder width at stride 2.
        feature_dim: length of the unit feature vectors, the same at all three scales.
        feature_strides: input voxels per cell of the three feature scales, coarse to fine: 8, 4, 2 or 4, 2, 1.
        full_channels: decoder width at stride 1, where there is one.
        vote_error: whether each cell also predicts the usual error of its offsets.
        range_mm: r of the paper's equation 2 as (x, y, z): the largest offset that tanh can give.
        hu_knots: HU values that are mapped piecewise linearly to ``hu_values``.
        hu_values: see ``hu_knots``.
    """

    spacing_mm: float = 4.0
    channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)
    fine_channels: int = 32
    feature_dim: int = 32
    feature_strides: tuple[int, int, int] = (8, 4, 2)
    full_channels: int = 16
    vote_error: bool = False
    range_mm: tuple[float, float, float] = (600.0, 600.0, 1500.0)
    hu_knots: tuple[float, ...] = (-1000.0, -200.0, 200.0, 1500.0)
    hu_values: tuple[float, ...] = (0.0, 0.2, 0.8, 1.0)


#: Input voxels per cell of the latent positions.
POSITION_STRIDE = 8
#: Input sizes must be multiples of this.
SIZE_MULTIPLE = 16


@dataclass(frozen=True)
class EncoderOutput:
    """Output of one pass.

    Attributes:
        positions: (B, 3, Z/8, Y/8, X/8) latent positions, channels (x, y, z).
        features: three (B, C, Z/s, Y/s, X/s) maps of unit vectors at ``EncoderConfig.feature_strides``.
        vote_error: (B, 1, Z/8, Y/8, X/8) log of a cell's usual offset error in units of 100 mm, where the
            configuration asks for it.
    """

    positions: Tensor
    features: tuple[Tensor, Tensor, Tensor]
    vote_error: Tensor | None = None


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


class _ToFull(nn.Module):
    """From stride 2 to stride 1: a sub-voxel shuffle, so that only two thin convolutions see every voxel."""

    def __init__(self, coarse: int, outputs: int) -> None:
        super().__init__()
        self.coarse = nn.Conv3d(coarse, 8 * outputs, 1)
        self.skip = nn.Conv3d(1, outputs, 3, padding=1)
        self.mix = nn.Sequential(nn.BatchNorm3d(outputs), nn.ReLU(inplace=True), _conv(outputs, outputs))

    def forward(self, coarse: Tensor, voxels: Tensor) -> Tensor:
        up = rearrange(self.coarse(coarse), "b (c p q r) z y x -> b c (z p) (y q) (x r)", p=2, q=2, r=2)
        mixed: Tensor = self.mix((up + self.skip(voxels)).contiguous(memory_format=torch.channels_last_3d))
        return mixed


def fast_layout(encoder: Encoder) -> Encoder:
    """Convert the weights to ``channels_last_3d``, which halves the time of 3D convolutions on CPUs."""
    return encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload,no-any-return]


def predicted_offset(query: Tensor, template: Tensor, range_mm: Tensor) -> Tensor:
    """Compute d = r * tanh(p_s - p_q), the paper's equation 2: from the query's place to the template's, mm.

    Args:
        query: (..., 3) latent positions p_q.
        template: (..., 3) latent positions p_s, broadcast against ``query``.
        range_mm: (3,) r as (x, y, z).
    """
    return range_mm * torch.tanh(template - query)


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
        strides, dim = self.config.feature_strides, self.config.feature_dim
        if strides not in ((8, 4, 2), (4, 2, 1)):
            raise ValueError(f"feature_strides must be (8, 4, 2) or (4, 2, 1), got {strides}")
        self.up1 = _ToFull(fine, self.config.full_channels) if strides[-1] == 1 else None
        width_at = {8: widths[2], 4: widths[1], 2: fine, 1: self.config.full_channels}
        self.heads = nn.ModuleList([nn.Conv3d(width_at[stride], dim, 1) for stride in strides])
        self.position = nn.Sequential(
            nn.Conv3d(widths[2], widths[2], 1),
            nn.ReLU(inplace=True),
            nn.Conv3d(widths[2], 4 if self.config.vote_error else 3, 1),
        )

    def forward(self, x: Tensor) -> EncoderOutput:
        """See the class."""
        self.check_size(x)
        fine = self.enter(x)
        levels = self.middle(fine)
        levels |= self.leave(levels[4], fine, x)
        features = self.features(levels)
        first, second, third = (features[stride] for stride in self.config.feature_strides)
        positions, error = self.votes(levels)
        return EncoderOutput(positions, (first, second, third), error)

    # The parts of a pass, from which ``tiling`` puts one together that fits in less memory: entering and leaving
    # hold nearly all of it and look only a few voxels far, the middle is small and looks far.

    def check_size(self, x: Tensor) -> None:
        """Refuse sizes that are no multiples of 16.

        Raises:
            ValueError: with the sizes.
        """
        if any(size % SIZE_MULTIPLE for size in x.shape[2:]):
            raise ValueError(
                f"sizes must be multiples of {SIZE_MULTIPLE}, got (Z, Y, X) = {tuple(x.shape[2:])}"
            )

    def enter(self, x: Tensor) -> Tensor:
        """(B, C, Z/2, Y/2, X/2): the stem and the stage at stride 2."""
        # Space to depth: the first convolution already works at stride 2, where memory traffic is an eighth.
        folded = rearrange(x, "b 1 (z p) (y q) (x r) -> b (p q r) z y x", p=2, q=2, r=2)
        stem: Tensor = self.stem(folded.contiguous(memory_format=torch.channels_last_3d))
        fine: Tensor = self.stages[0](self.downs[0](stem))
        return fine

    def middle(self, fine: Tensor) -> dict[int, Tensor]:
        """Stride to level, 8 and 4: down from stride 2 to stride 16 and up again to 4."""
        skips = [fine]
        for reduce, stage in zip(list(self.downs)[1:], list(self.stages)[1:], strict=True):
            skips.append(stage(reduce(skips[-1])))
        eight = self.up8(skips[3], skips[2])
        return {8: eight, 4: self.up4(eight, skips[1])}

    def leave(self, four: Tensor, fine: Tensor, x: Tensor) -> dict[int, Tensor]:
        """Stride to level, 2 and, where there is one, 1: from the level at stride 4, ``enter(x)`` and the input."""
        levels = {2: self.up2(four, fine)}
        if self.up1 is not None:
            levels[1] = self.up1(levels[2], x)
        return levels

    def features(self, levels: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Stride to unit feature vectors, of those levels given that have a head."""
        return {
            stride: F.normalize(head(levels[stride]).float(), dim=1)
            for head, stride in zip(self.heads, self.config.feature_strides, strict=True)
            if stride in levels
        }

    def votes(self, levels: Mapping[int, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Latent positions, and the log of their error where the configuration asks for it."""
        position = self.position(levels[POSITION_STRIDE]).float()
        return position[:, :3], position[:, 3:] if self.config.vote_error else None
