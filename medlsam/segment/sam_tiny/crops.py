"""Cut square crops around boxes for the network, and put the masks found in them back into the slices.

In one plane, ``u`` runs along the columns and ``v`` along the rows of an array. A crop is a square of
``side_mm``, isotropic in millimetres for any pixel spacing; in training it may be turned and mirrored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from medlsam.geometry import hat_weights, tight_slices
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume.hounsfield import LOWEST_HU

# Logits below this (a probability of 2 %) count as 0: most of a crop, which then needs no resampling.
_NOTHING = -4.0


@dataclass(frozen=True)
class CropFrame:
    """The position of a crop in a plane.

    Attributes:
        center_uv: the crop's centre in continuous pixel indices (column, row).
        side_mm: edge of the square, mm.
        spacing_uv: (column, row) pixel spacing in mm.
        angle: rotation in radians.
        mirrored: whether ``u`` is mirrored.
    """

    center_uv: tuple[float, float]
    side_mm: float
    spacing_uv: tuple[float, float]
    angle: float = 0.0
    mirrored: bool = False

    @property
    def upright(self) -> bool:
        """Whether the crop is neither turned nor mirrored."""
        return self.angle == 0 and not self.mirrored

    def _matrix(self) -> NDArray[np.float64]:
        """Return the (2, 2) matrix from crop millimetres to plane millimetres."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        mirror = -1.0 if self.mirrored else 1.0
        return np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])

    def to_pixels(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Map (..., 2) crop coordinates from 0 to 1 to (..., 2) continuous pixel indices (column, row)."""
        mm = (np.asarray(uv, dtype=float) - 0.5) * self.side_mm @ self._matrix().T
        return np.asarray(mm / np.asarray(self.spacing_uv) + np.asarray(self.center_uv))

    def from_pixels(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Invert ``to_pixels``."""
        mm = (np.asarray(uv, dtype=float) - np.asarray(self.center_uv)) * np.asarray(self.spacing_uv)
        return np.asarray(mm @ np.linalg.inv(self._matrix()).T / self.side_mm + 0.5)

    def box(self, box_xyxy: ArrayLike, size: int) -> NDArray[np.float64]:
        """Map a box in pixel indices (``SlicePrompt.box_xyxy``) to (4,) edges in crop pixels, 0 to ``size``."""
        corners = self.from_pixels(np.asarray(box_xyxy, dtype=float).reshape(2, 2)) * size
        return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def frame_around(
    box_xyxy: ArrayLike, spacing_uv: tuple[float, float], zoom: float, min_side_mm: float
) -> CropFrame:
    """Place an upright crop at the centre of a box, ``zoom`` times as large as its longest edge."""
    box = np.asarray(box_xyxy, dtype=float)
    center = (box[:2] + box[2:]) / 2
    longest = float(((box[2:] - box[:2]) * np.asarray(spacing_uv)).max())
    return CropFrame((float(center[0]), float(center[1])), max(zoom * longest, min_side_mm), spacing_uv)


def sample(
    planes: Sequence[NDArray[np.generic]] | NDArray[np.generic],
    frame: CropFrame,
    size: int,
    fill: float = LOWEST_HU,
) -> Tensor:
    """Sample a crop from one or more planes, bilinear; averaged first where the crop's pixels are much larger.

    Args:
        planes: C planes of (rows, columns); only the crop's part of them is read.
        frame: position of the crop.
        size: side of the crop in pixels.
        fill: value outside of the planes.

    Returns:
        (C, size, size) float32.
    """
    corners = frame.to_pixels([[0, 0], [0, 1], [1, 0], [1, 1]])
    limits = np.array(planes[0].shape[::-1])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, limits - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 3, low + 1, limits)
    part = np.empty((len(planes), high[1] - low[1], high[0] - low[0]), np.float32)
    for own, plane in zip(part, planes, strict=True):
        own[:] = plane[low[1] : high[1], low[0] : high[0]]
    tensor = torch.from_numpy(part).sub_(fill)[None]
    steps = [
        max(1, min(int(frame.side_mm / size / s), n))
        for s, n in zip(frame.spacing_uv, high - low, strict=True)
    ]
    if max(steps) > 1:
        tensor = functional.avg_pool2d(tensor, (steps[1], steps[0]), ceil_mode=True, count_include_pad=False)
    if frame.upright:
        counts = tensor.shape[:1:-1]
        columns, rows = (_reading(frame, a, size, int(low[a]), counts[a], steps[a]) for a in (0, 1))
        return rows @ tensor[0] @ columns.T + fill
    # theta maps the crop's -1..1 to the part's -1..1 (edges at +-1); a pooled pixel covers several
    matrix = frame._matrix() * frame.side_mm / 2 / np.asarray(frame.spacing_uv)[:, None]
    extent = np.array([tensor.shape[3], tensor.shape[2]]) * np.asarray(steps) / 2
    offset = (np.asarray(frame.center_uv) + 0.5 - low) / extent - 1
    theta = torch.from_numpy(np.concatenate([matrix / extent[:, None], offset[:, None]], axis=1)).float()
    grid = functional.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    return functional.grid_sample(tensor, grid, mode="bilinear", align_corners=False)[0] + fill


def _reading(frame: CropFrame, axis: int, size: int, low: int, count: int, step: int) -> Tensor:
    """Compute the weights (size, count) of ``count`` pooled pixels in the pixels of an upright crop along an axis.

    With one matrix per axis, linear interpolation takes a fifth of the time of ``grid_sample``.
    """
    mm = ((np.arange(size) + 0.5) / size - 0.5) * frame.side_mm
    place = (mm / frame.spacing_uv[axis] + frame.center_uv[axis] - low + 0.5) / step - 0.5
    return _hats(place, count)


def _hats(places: NDArray[np.float64], count: int) -> Tensor:
    """Compute linear interpolation weights (len(places), count) of ``count`` pixels at places between them."""
    return torch.from_numpy(hat_weights(places, np.arange(count))).float()


def neighbour_step(spacing_mm: float, neighbour_mm: float) -> int:
    """Return the distance of the neighbours in slices: about ``neighbour_mm``, at least one slice."""
    return max(1, round(neighbour_mm / spacing_mm))


def planes_at(stack: NDArray[np.generic], index: int, step: int) -> list[NDArray[np.generic]]:
    """Return a slice and its neighbours ``step`` below and above, clamped to the stack: three (rows, columns) views."""
    return [stack[index], stack[max(index - step, 0)], stack[min(index + step, len(stack) - 1)]]


def channels(crop: Tensor, windows: tuple[tuple[float, float], ...]) -> Tensor:
    """Turn (..., 3, S, S) HU of a slice and its neighbours into (..., windows + 2, S, S) from -1 to 1."""

    def windowed(hu: Tensor, window: tuple[float, float]) -> Tensor:
        low, high = window
        return ((hu - low) * (2 / (high - low)) - 1).clamp(-1, 1)

    own = [windowed(crop[..., 0, :, :], window) for window in windows]
    return torch.stack([*own, *(windowed(crop[..., k, :, :], windows[0]) for k in (1, 2))], dim=-3)


def paste(crops: Tensor, frame: CropFrame, low_uv: tuple[int, int], shape_vu: tuple[int, int]) -> Tensor:
    """Sample crop values at the pixels of a window of the plane, bilinear.

    Args:
        crops: (C, S, S) values on the crop.
        frame: position of the crop; upright, not mirrored.
        low_uv: first column and row of the window.
        shape_vu: rows and columns of the window.

    Returns:
        (C, rows, columns); outside of the crop its border values are repeated.
    """
    columns, rows = (
        _pasting(frame, axis, crops.shape[-1], low_uv[axis], shape_vu[1 - axis]) for axis in (0, 1)
    )
    return rows.to(crops) @ crops @ columns.to(crops).T


def _pasting(frame: CropFrame, axis: int, size: int, low: int, count: int) -> Tensor:
    """Compute the weights (count, size) of an upright crop's pixels in the pixels from ``low`` on along an axis."""
    mm = (np.arange(count) + low - frame.center_uv[axis]) * frame.spacing_uv[axis]
    place = np.clip((mm / frame.side_mm + 0.5) * size - 0.5, 0, size - 1)
    return _hats(place, size)


def draw_boxes(boxes: Tensor, errors: Tensor, size: int) -> Tensor:
    """Draw boxes as probabilities that a pixel lies inside, (B, size, size), 0 to 1.

    A side with an error is a ramp, as if the error were uniform with that standard deviation; a side of an exact box
    covers the pixel that it crosses in part.

    Args:
        boxes: (B, 4) x0, y0, x1, y1 in crop pixels, edges.
        errors: (B,) standard deviation of the sides, crop pixels.
        size: side of the crop in pixels.
    """
    center = torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5
    ramp = (2 * math.sqrt(3) * errors).clamp(min=1)[:, None]

    def along(low: Tensor, high: Tensor) -> Tensor:
        start = (center - low[:, None]) / ramp + 0.5
        stop = (high[:, None] - center) / ramp + 0.5
        return start.clamp(0, 1) * stop.clamp(0, 1)

    x0, y0, x1, y1 = boxes.unbind(-1)
    return along(y0, y1)[:, :, None] * along(x0, x1)[:, None, :]


@dataclass(frozen=True)
class CropItem:
    """One prompt and its crop.

    Attributes:
        structure: name of the structure.
        prompt: slice and box.
        frame: position of the crop in the slice.
        low_xy: first column and row of the slice that the crop covers.
        high_xy: after-last column and row.
    """

    structure: str
    prompt: SlicePrompt
    frame: CropFrame
    low_xy: tuple[int, int]
    high_xy: tuple[int, int]


def empty_block(items: Sequence[CropItem]) -> MaskBlock:
    """Make a block of zeros that contains all crops of a structure."""
    low = (
        min(item.prompt.z for item in items),
        min(item.low_xy[1] for item in items),
        min(item.low_xy[0] for item in items),
    )
    high = (
        max(item.prompt.z for item in items) + 1,
        max(item.high_xy[1] for item in items),
        max(item.high_xy[0] for item in items),
    )
    return MaskBlock(low, np.zeros(np.subtract(high, low), np.float32))


def write(block: MaskBlock, item: CropItem, logits: Tensor) -> None:
    """Write the mask of one crop into the structure's block; where prompts meet, the larger probability counts.

    Args:
        block: (Z, Y, X) probabilities; changed in place.
        item: prompt and crop.
        logits: (S, S) on the crop's pixels, rows first.
    """
    window = _window(item, logits)
    if window is None:
        return
    (x0, y0), (x1, y1) = window
    probability = paste(logits[None], item.frame, (x0, y0), (y1 - y0, x1 - x0))[0].sigmoid_().numpy()
    z, y, x = (
        item.prompt.z - block.origin_zyx[0],
        slice(y0 - block.origin_zyx[1], y1 - block.origin_zyx[1]),
        slice(x0 - block.origin_zyx[2], x1 - block.origin_zyx[2]),
    )
    np.maximum(block.probability[z, y, x], probability, out=block.probability[z, y, x])


def _window(item: CropItem, logits: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Find the part of the slice where a crop's mask is not 0: first and after-last (column, row); None for no mask."""
    rows, columns = tight_slices((logits > _NOTHING).numpy())
    if not columns.stop:
        return None
    # One pixel more on each side, since interpolated values rise before the first pixel.
    first, last = np.array([columns.start, rows.start]) - 1, np.array([columns.stop, rows.stop]) + 1
    corners = item.frame.to_pixels(np.array([first, last]) / logits.shape[-1])
    low = np.clip(np.ceil(corners[0]), item.low_xy, item.high_xy).astype(int)
    high = np.clip(np.floor(corners[1]) + 1, item.low_xy, item.high_xy).astype(int)
    if (low >= high).any():
        return None
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


def sample_mask(mask: MaskBlock | None, item: CropItem, size: int) -> Tensor:
    """Sample a mask prompt on a crop: (size, size) probabilities, rows first; NaN where the slice has none."""
    index = -1 if mask is None else item.prompt.z - mask.origin_zyx[0]
    if mask is None or not 0 <= index < len(mask.probability):
        return torch.full((size, size), torch.nan)
    plane = mask.probability[index][None]
    shift = (item.frame.center_uv[0] - mask.origin_zyx[2], item.frame.center_uv[1] - mask.origin_zyx[1])
    return sample(plane, CropFrame(shift, item.frame.side_mm, item.frame.spacing_uv), size, fill=0.0)[0]
