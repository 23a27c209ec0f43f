"""A slice into a whole-slice model's input, boxes along with it, and masks back: as the registry entry says.

Slices are (H, W) HU, boxes x0, y0, x1, y1 in continuous pixel indices (pixel i covers i - 0.5 to i + 0.5).
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.segment.registry import SegmenterSpec
from medlsam.segment.sam.resize import area, bilinear, spline

_RESIZED = MappingProxyType({"bilinear": bilinear, "area": area, "spline": spline})


def prepare(slice_hu: NDArray[np.generic], spec: SegmenterSpec, device: torch.device | None = None) -> Tensor:
    """One slice as the model's input.

    Args:
        slice_hu: (H, W) HU.
        spec: whose preprocessing.
        device: where the result lies, default CPU. All before that is the CPU's, so that a slice is the same
            picture everywhere.

    Returns:
        (1, 3, S, S) float32, S = ``spec.input_size``.
    """
    picture = to_bytes(slice_hu, spec)
    height, width = size = spec.input_shape((picture.shape[0], picture.shape[1]))
    resized = _RESIZED[spec.interpolation](picture, size) if size != picture.shape else picture
    pixels = torch.from_numpy(resized.astype(np.float32)).expand(1, 3, -1, -1)
    if spec.normalisation == "min_max":
        least, most = pixels.min(), pixels.max()
        pixels = (pixels - least) / (most - least).clamp_min(1e-8)  # a slice of air is 0 everywhere
    else:
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
        pixels = (pixels - mean) / std
    # after the normalisation, as SAM does: the padding is 0, not black
    padded = F.pad(pixels, (0, spec.input_size - width, 0, spec.input_size - height))
    return padded.contiguous().to(device or torch.device("cpu"))


def to_bytes(slice_hu: NDArray[np.generic], spec: SegmenterSpec) -> NDArray[np.uint8]:
    """The window as a grey picture of 256 levels, (H, W): what all these models were trained on."""
    low = spec.level - spec.width / 2
    levels = (np.asarray(slice_hu, dtype=np.float32) - low) * (255.0 / spec.width)
    # Fractions are cut off, as np.uint8 does in the publishers' preparation of CT.
    return np.asarray(np.clip(levels, 0.0, 255.0), dtype=np.uint8)


def scale_boxes(boxes: ArrayLike, shape_hw: tuple[int, int], spec: SegmenterSpec) -> NDArray[np.float32]:
    """Boxes in input pixels.

    A continuous index is half a pixel less than the distance from the image's edge, and it is that distance
    that scales: the box of a whole slice becomes 0, 0, width, height.

    Args:
        boxes: (N, 4).
        shape_hw: of the slice.
        spec: whose preprocessing.

    Returns:
        (N, 4) in input pixels, measured from the edge of the first.
    """
    height, width = spec.input_shape(shape_hw)
    scale = np.tile([width / shape_hw[1], height / shape_hw[0]], 2)
    edges = np.asarray(boxes, dtype=float).reshape(-1, 4) + 0.5
    return np.asarray(edges * scale, dtype=np.float32)


def scale_masks(masks: Tensor, spec: SegmenterSpec, size: tuple[int, int]) -> Tensor:
    """Rough masks as the prompt encoder takes them: logits that cover the padded square input.

    Args:
        masks: (N, H, W) probabilities; NaN all over in those that say nothing.
        spec: whose preprocessing.
        size: (rows, columns) of the prompt encoder's masks.

    Returns:
        (N, rows, columns) float32 logits, "outside" in the padding; NaN all over where ``masks`` is.
    """
    height, width = spec.input_shape((masks.shape[-2], masks.shape[-1]))
    rows = max(1, round(height * size[0] / spec.input_size))
    columns = max(1, round(width * size[1] / spec.input_size))
    known = ~masks[:, :1, :1].isnan()
    small = F.interpolate(
        torch.nan_to_num(masks)[:, None].float(),
        (rows, columns),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    padded = F.pad(small[:, 0], (0, size[1] - columns, 0, size[0] - rows))
    # as sure as SAM's own masks are, which is what its mask prompt was trained on
    return torch.where(known, torch.logit(padded.clamp(0, 1), eps=1e-3), torch.nan)


def restore(logits: Tensor, shape_hw: tuple[int, int], spec: SegmenterSpec) -> Tensor:
    """Mask logits of the decoder at the slice's size.

    Args:
        logits: (N, h, w), covering the padded square input.
        shape_hw: of the slice.
        spec: whose preprocessing.

    Returns:
        (N, H, W) logits.
    """
    masks = logits[:, None].float()
    if spec.aspect == "longest":
        # the padding may begin inside a pixel of the small mask, so it is cut off at full size
        size = spec.input_shape(shape_hw)
        masks = F.interpolate(masks, (spec.input_size,) * 2, mode="bilinear", align_corners=False)
        masks = masks[..., : size[0], : size[1]]
    return F.interpolate(masks, shape_hw, mode="bilinear", align_corners=False)[:, 0]
