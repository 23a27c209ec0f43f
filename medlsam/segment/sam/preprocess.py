"""Prepare slices, boxes and mask prompts for a whole-slice model as its registry entry says, and restore its masks.

Slices are (H, W) HU, boxes x0, y0, x1, y1 in continuous pixel indices (pixel i covers i - 0.5 to i + 0.5).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from medlsam.segment.registry import SegmenterSpec


def prepare(slice_hu: NDArray[np.generic], spec: SegmenterSpec, device: torch.device | None = None) -> Tensor:
    """Turn one slice into the model's input.

    Args:
        slice_hu: (H, W) HU.
        spec: registry entry of the model.
        device: device of the result, default CPU. The preparation itself runs on the CPU, so that a slice gives the
            same picture everywhere.

    Returns:
        (1, 3, S, S) float32, S = ``spec.input_size``.
    """
    picture = to_bytes(slice_hu, spec)
    height, width = size = spec.input_shape((picture.shape[0], picture.shape[1]))
    resized = _RESIZE[spec.interpolation](picture, size) if size != picture.shape else picture
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
    """Map the HU window to a grey picture of 256 levels, (H, W), on which all these models were trained."""
    low = spec.level - spec.width / 2
    levels = (np.asarray(slice_hu, dtype=np.float32) - low) * (255.0 / spec.width)
    # The conversion cuts off fractions, as in the publishers' preparation of CT.
    return np.asarray(np.clip(levels, 0.0, 255.0), dtype=np.uint8)


def scale_boxes(boxes: ArrayLike, shape_hw: tuple[int, int], spec: SegmenterSpec) -> NDArray[np.float32]:
    """Scale boxes to input pixels.

    A continuous index is half a pixel less than the distance from the image's edge, and that distance scales: the
    box of a whole slice becomes 0, 0, width, height.

    Args:
        boxes: (N, 4).
        shape_hw: rows and columns of the slice.
        spec: registry entry of the model.

    Returns:
        (N, 4) input pixels, measured from the edge of the first.
    """
    height, width = spec.input_shape(shape_hw)
    scale = np.tile([width / shape_hw[1], height / shape_hw[0]], 2)
    edges = np.asarray(boxes, dtype=float).reshape(-1, 4) + 0.5
    return np.asarray(edges * scale, dtype=np.float32)


def scale_masks(masks: Tensor, spec: SegmenterSpec, size: tuple[int, int]) -> Tensor:
    """Turn rough masks into the prompt encoder's input: logits that cover the padded square picture.

    Args:
        masks: (N, H, W) probabilities; all NaN where a box has no mask prompt.
        spec: registry entry of the model.
        size: (rows, columns) of the prompt encoder's masks.

    Returns:
        (N, rows, columns) float32 logits, "outside" in the padding; all NaN where ``masks`` is.
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
    # limited to the confidence of SAM's own masks, on which its mask prompt was trained
    return torch.where(known, torch.logit(padded.clamp(0, 1), eps=1e-3), torch.nan)


def restore(logits: Tensor, shape_hw: tuple[int, int], spec: SegmenterSpec) -> Tensor:
    """Resize mask logits of the decoder to the slice.

    Args:
        logits: (N, h, w) covering the padded square input.
        shape_hw: rows and columns of the slice.
        spec: registry entry of the model.

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


# Weights expect the resizing of their training. These three give the values of Pillow, OpenCV and scikit-image without
# needing those libraries: pictures are (H, W) uint8, sizes (height, width), results float32 on the same 0..255.


def bilinear(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize as ``PIL.Image.resize(..., BILINEAR)``: whole grey levels, anti-aliased when shrinking."""
    # On bytes torch computes in Pillow's fixed point; the same of floats differs by a level in a quarter of the pixels.
    pixels = torch.from_numpy(np.ascontiguousarray(picture))[None, None]
    resized = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(resized[0, 0].numpy(), dtype=np.float32)


def area(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize as ``cv2.resize(..., INTER_AREA)``: the mean over each new pixel's area, in whole grey levels."""
    rows, columns = (_overlaps(old, new) for old, new in zip(picture.shape, size, strict=True))
    # The sums are whole numbers, so that halves are exact.
    means = (rows @ picture.astype(np.float64) @ columns.T) / (picture.shape[0] * picture.shape[1])
    return np.asarray(np.floor(means + 0.5), dtype=np.float32)


def spline(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize as ``skimage.transform.resize(..., order=3, preserve_range=True, anti_aliasing=True)``."""
    pixels = picture.astype(np.float64)
    zoom = np.array(size) / picture.shape
    blur = np.maximum(0.0, (1 / zoom - 1) / 2)
    if (blur > 0).any():
        pixels = ndimage.gaussian_filter(pixels, blur, mode="mirror")
    pixels = ndimage.zoom(pixels, zoom, order=3, mode="mirror", grid_mode=True)
    # clipped, as there, since splines overshoot beside edges
    return np.asarray(np.clip(pixels, picture.min(), picture.max()), dtype=np.float32)


def _overlaps(old: int, new: int) -> NDArray[np.float64]:
    """Compute how much of each of ``old`` pixels lies in each of ``new`` ones, (new, old), in units of 1/(old * new).

    Each row sums to ``old``.
    """
    of_new, of_old = np.arange(new)[:, None] * old, np.arange(old)[None] * new
    shared = np.minimum(of_new + old, of_old + new) - np.maximum(of_new, of_old)
    return np.asarray(np.maximum(shared, 0), dtype=np.float64)


_RESIZE = {"bilinear": bilinear, "area": area, "spline": spline}
