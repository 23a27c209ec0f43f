"""Which of a teacher's masks can be learned from, and why the others are dropped."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.segment.distill.prompts import Box
from medlsam.segment.finetune.components import MIN_PIXELS

Fault = Literal["low_iou", "empty", "fills_box", "leaves_box"]
#: Why a mask is dropped, in words for people.
FAULTS: dict[Fault, str] = {
    "low_iou": "the teacher expects a low IoU",
    "empty": "empty",
    "fills_box": "fills the box",
    "leaves_box": "leaves the box",
}

# A mask that covers more of its box is the box itself: the teacher saw no edge in it.
_FILLS = 0.97
# Share of a mask that may lie outside of its box, widened by this share of its edges and one pixel.
_OUTSIDE, _MARGIN = 0.1, 0.1
# Parts smaller than this share of the mask are specks: they would widen the tight box that the student is given.
_SPECK = 0.05


def judge(
    mask: NDArray[np.bool_], box: Box, quality: float, least_quality: float
) -> NDArray[np.bool_] | Fault:
    """Clean a mask, or name what is wrong with it.

    Args:
        mask: (H, W) of the teacher.
        box: its prompt, continuous pixel indices.
        quality: IoU that the teacher expects of the mask.
        least_quality: that is enough; 0 asks for none (what an untrained head expects may be negative).

    Returns:
        (H, W) mask without specks and without what lies outside of the box's surroundings; or the fault.
    """
    if least_quality > 0 and quality < least_quality:
        return "low_iou"
    area = int(mask.sum())
    if area < MIN_PIXELS:
        return "empty"
    x0, y0, x1, y1 = box
    if mask[_pixels(y0, y1), _pixels(x0, x1)].mean() > _FILLS:
        return "fills_box"
    margin_x, margin_y = _MARGIN * (x1 - x0) + 1, _MARGIN * (y1 - y0) + 1
    near = _pixels(y0 - margin_y, y1 + margin_y), _pixels(x0 - margin_x, x1 + margin_x)
    inside = mask[near]
    if inside.sum() < (1 - _OUTSIDE) * area:
        return "leaves_box"
    numbered, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    kept = np.zeros_like(mask)
    kept[near] = (sizes >= max(_SPECK * sizes.sum(), 1))[numbered]
    return kept if kept.sum() >= MIN_PIXELS else "empty"


def _pixels(low: float, high: float) -> slice:
    """List the pixels, of which at least one, whose centres lie between two continuous indices."""
    first = max(int(np.ceil(low - 1e-6)), 0)
    return slice(first, max(int(np.floor(high + 1e-6)) + 1, first + 1))
