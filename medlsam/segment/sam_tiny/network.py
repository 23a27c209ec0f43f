"""The network of ``sam-tiny``: a small encoder with segment-anything's prompt encoder and mask decoder.

Each prompt has its own crop, so the encoder is light and the decoder pairs crop ``i`` with box ``i``. The
decoder is segment-anything's own, run step by step here because its ``forward`` would decode every box in
every crop, and because fine detail from the encoder is added while it upsamples (as SAM 2 does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from medlsam.errors import WeightsError
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam_tiny.crops import draw_boxes

#: Features at strides 8, 4, 2 and 1.
Embedding = tuple[Tensor, Tensor, Tensor, Tensor]
# Box errors, in crop pixels, that the network distinguishes.
_ERROR_SCALES = (1.0, 4.0, 12.0)
# Logits are several times as large as the features beside them.
_LOGIT_SCALE = 4.0


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the network, and how crops become its input.

    Attributes:
        size: side of the square crop in pixels, and of the masks. A multiple of 32.
        detail, stem, quarter, eighth, sixteenth: channels at strides 1, 2, 4, 8 and 16.
        dim: width of the prompt encoder and of the two-way transformer.
        heads, depth, mlp: attention heads, layers and hidden width of the two-way transformer.
        windows: (low, high) in HU, one input channel each for the crop's own slice; the first is also used
            for the slice below and the slice above.
        neighbour_mm: distance of the slices below and above, at least one slice.
        zoom: crop side in multiples of the box's longest edge, at inference.
        min_side_mm: the smallest crop side, at inference.
        located_error_mm: error assumed for a box whose prompt states none.
        refits: maximal number of further passes with boxes moved towards the masks.
        refit_share, refit_tolerance, refit_error_mm: see ``segmenter.refit``.
    """

    size: int = 96
    detail: int = 12
    stem: int = 24
    quarter: int = 48
    eighth: int = 96
    sixteenth: int = 160
    dim: int = 128
    heads: int = 8
    depth: int = 2
    mlp: int = 512
    windows: tuple[tuple[float, float], ...] = ((-160.0, 240.0), (-500.0, 1300.0), (-1100.0, 100.0))
    neighbour_mm: float = 3.0
    zoom: float = 1.9
    min_side_mm: float = 48.0
    located_error_mm: float = 6.0
    refits: int = 1
    refit_share: float = 0.8
    refit_tolerance: float = 0.06
    refit_error_mm: float = 2.0

    @property
    def channels(self) -> int:
        """Channels of a crop: one for each window, and the two neighbours."""
        return len(self.windows) + 2

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: object = "configuration") -> TinyConfig:
        """Read the configuration in a weights file.

        Raises:
            WeightsError: unknown keys, as of another architecture or a newer version.
        """
        if unknown := sorted(set(data) - {field.name for field in fields(cls)}):
            raise WeightsError(
                f"{source}: not a sam-tiny of this version: unknown settings {', '.join(unknown)}"
            )
        values = dict(data)
        if "windows" in values:
            values["windows"] = tuple((float(low), float(high)) for low, high in values["windows"])
        return cls(**values)


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_unit(channels, channels), nn.ReLU(inplace=True), *_unit(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.body(x))


def _down(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    steps = [*_unit(inputs, outputs, stride=2), nn.ReLU(inplace=True)]
    return nn.Sequential(*steps, *(_Residual(outputs) for _ in range(blocks)))


class _Trust(nn.Module):
    """Scales and shifts features by the error of the box: an exact box needs other features than a vague one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_error = nn.Linear(len(_ERROR_SCALES), 2 * channels)
        nn.init.zeros_(self.of_error.weight)
        nn.init.zeros_(self.of_error.bias)

    def forward(self, x: Tensor, errors: Tensor) -> Tensor:
        """The same shape; ``errors`` (B,) in crop pixels."""
        known = torch.exp(-errors[:, None] / errors.new_tensor(_ERROR_SCALES))
        scale, shift = self.of_error(known).chunk(2, dim=1)
        # Rows of pixels with channels last: channel by channel this takes four times as long.
        rows = rearrange(x, "b c h w -> b h (w c)")
        width = x.shape[-1]
        scale, shift = (repeat(own, "b c -> b 1 (w c)", w=width) for own in (1 + scale, shift))
        return rearrange(torch.addcmul(shift, rows, scale), "b h (w c) -> b c h w", w=width)


class CropEncoder(nn.Module):
    """Encodes a crop, with its box as the last channel, at stride 8, with detail features at strides 4, 2 and 1."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.to_full = nn.Sequential(*_unit(config.channels + 1, config.detail), nn.ReLU(inplace=True))
        self.to_half = nn.Sequential(
            *_unit(config.channels + 1, config.stem, stride=2),
            nn.ReLU(inplace=True),
            *_unit(config.stem, config.stem),
            nn.ReLU(inplace=True),
        )
        self.to_quarter = _down(config.stem, config.quarter, 1)
        self.to_eighth = _down(config.quarter, config.eighth, 2)
        self.to_sixteenth = _down(config.eighth, config.sixteenth, 2)
        stages = (config.detail, config.stem, config.quarter, config.eighth, config.sixteenth)
        self.trust = nn.ModuleList(_Trust(channels) for channels in stages)
        self.lateral = nn.Conv2d(config.eighth, config.dim, 1)
        self.top = nn.Conv2d(config.sixteenth, config.dim, 1)

    def forward(self, x: Tensor, errors: Tensor) -> Embedding:
        """Compute a (B, dim, S/8, S/8) embedding, and features at S/4, S/2 and S.

        Args:
            x: (B, channels + 1, S, S) crops with their boxes.
            errors: (B,) errors of the boxes, crop pixels.
        """
        full = self.trust[0](self.to_full(x), errors)
        half = self.trust[1](self.to_half(x), errors)
        quarter = self.trust[2](self.to_quarter(half), errors)
        eighth = self.trust[3](self.to_eighth(quarter), errors)
        top = self.top(self.trust[4](self.to_sixteenth(eighth), errors))
        top = nn.functional.interpolate(top, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.lateral(eighth) + top, quarter, half, full


class PairedMaskDecoder(nn.Module):
    """segment-anything's ``MaskDecoder`` for one prompt per image, with detail added while it upsamples."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        transformer = sam_parts().modeling.TwoWayTransformer(
            depth=config.depth, embedding_dim=config.dim, mlp_dim=config.mlp, num_heads=config.heads
        )
        self.sam = sam_parts().modeling.MaskDecoder(
            transformer_dim=config.dim,
            transformer=transformer,
            num_multimask_outputs=1,
            iou_head_depth=2,
            iou_head_hidden_dim=config.dim,
        )
        self.detail_quarter = nn.Conv2d(config.quarter, config.dim // 4, 1)
        self.detail_half = nn.Conv2d(config.stem, config.dim // 8, 1)
        self.sharpen = nn.Conv2d(config.dim // 8, config.dim // 8, 3, padding=1)
        self.refine = nn.Sequential(
            nn.Conv2d(config.detail + 1, config.detail, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.detail, 1, 3, padding=1),
        )
        nn.init.zeros_(self.refine[2].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.refine[2].bias)  # type: ignore[arg-type]

    def forward(
        self, embedding: Embedding, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode one mask per crop: logits (B, S, S) and predicted IoU (B,)."""
        image, quarter, half, full = embedding
        batch = len(sparse)
        own = torch.cat([self.sam.iou_token.weight, self.sam.mask_tokens.weight])
        tokens = torch.cat([own.expand(batch, -1, -1), sparse], dim=1)
        source = image + dense
        tokens, source = self.sam.transformer(source, image_pe.expand(batch, -1, -1, -1), tokens)
        grid = source.transpose(1, 2).reshape(image.shape)
        first, norm, activation, second, last_activation = self.sam.output_upscaling
        grid = activation(norm(first(grid) + self.detail_quarter(quarter)))
        grid = last_activation(second(grid) + self.detail_half(half))
        grid = grid + self.sharpen(grid)
        weights = self.sam.output_hypernetworks_mlps[0](tokens[:, 1])
        coarse = torch.einsum("bc,bchw->bhw", weights, grid)[:, None]
        coarse = nn.functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        logits = (coarse + self.refine(stacked(full, coarse / _LOGIT_SCALE)))[:, 0]
        return logits, self.sam.iou_prediction_head(tokens[:, 0])[:, 0]


class TinySam(nn.Module):
    """The whole network: ``encode`` crops (costly), then ``decode`` one box in each of them (cheap)."""

    def __init__(self, config: TinyConfig | None = None) -> None:
        super().__init__()
        self.config = config or TinyConfig()
        grid = self.config.size // 8
        self.encoder = CropEncoder(self.config)
        self.prompt_encoder = sam_parts().modeling.PromptEncoder(
            embed_dim=self.config.dim,
            image_embedding_size=(grid, grid),
            input_image_size=(self.config.size, self.config.size),
            mask_in_chans=16,
        )
        self.decoder = PairedMaskDecoder(self.config)
        channels_last(self)

    def encode(self, crops: Tensor, boxes: Tensor, errors: Tensor) -> Embedding:
        """Encode crops at strides 8, 4, 2 and 1.

        Args:
            crops: (B, channels, size, size), see ``crops.channels``.
            boxes: (B, 4), see ``decode``; drawn into the input, since each crop has only one box, so that the encoder
                knows it from its first layer on.
            errors: (B,) standard deviation of the boxes' sides, crop pixels; the larger, the softer the sides are
                drawn. 0 is a box that touches the structure on all four sides.
        """
        drawn = 2 * draw_boxes(boxes, errors, self.config.size)[:, None].to(crops) - 1
        found: Embedding = self.encoder(stacked(crops, drawn), errors)
        return found

    def decode(
        self,
        embedding: Embedding,
        boxes: Tensor,
        mask_prompts: Tensor | None = None,
        points: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Decode one mask for each crop.

        Args:
            embedding: result of ``encode``.
            boxes: (B, 4) x0, y0, x1, y1 in crop pixels, edges (the first pixel covers 0 to 1).
            mask_prompts: (B, size/2, size/2) probabilities of rough masks; NaN in the crops without one.
            points: (B, K, 3) x, y in crop pixels and 1 for inside, 0 for outside, -1 for no point.

        Returns:
            (B, size, size) logits, and (B,) the predicted IoU of each.
        """
        # segment-anything adds half a pixel, since it expects pixel indices
        marks = None if points is None else (points[..., :2] - 0.5, points[..., 2])
        sparse, dense = self.prompt_encoder(points=marks, boxes=boxes - 0.5, masks=None)
        if mask_prompts is not None:
            given = ~torch.isnan(mask_prompts[:, 0, 0])
            _, rough = self.prompt_encoder(None, None, masks=4 * torch.nan_to_num(mask_prompts)[:, None] - 2)
            dense = torch.where(given[:, None, None, None], rough, dense)
        logits, quality = self.decoder(embedding, self.prompt_encoder.get_dense_pe(), sparse, dense)
        return logits, quality

    def forward(
        self,
        crops: Tensor,
        boxes: Tensor,
        errors: Tensor,
        mask_prompts: Tensor | None = None,
        points: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode and decode in one call."""
        return self.decode(self.encode(crops, boxes, errors), boxes, mask_prompts, points)


def channels_last(net: TinySam) -> TinySam:
    """Store the convolutions' weights channels last, in place: half as fast again on a CPU."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return net


def stacked(one: Tensor, other: Tensor) -> Tensor:
    """Stack (B, C, H, W) and (B, D, H, W) along channels, channels last in memory, in a third of ``cat``'s time."""
    rows = [rearrange(part, "b c h w -> b h w c") for part in (one, other)]
    return rearrange(torch.cat(rows, dim=-1), "b h w c -> b c h w")
