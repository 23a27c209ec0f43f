"""A second look: boxes that the first masks do not fill, or spill over, are moved towards the masks.

A located box is several millimetres off, and the network, trained on such boxes, often finds the structure beside
it. Then the mask's own box is the better prompt, and it puts the structure into the middle of the crop. A box that
fits gives a mask that fills it; such structures are not looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import filled
from medlsam.segment.label_map import MaskBlock, largest_component
from medlsam.segment.prompts import SlicePrompt

_MIN_PIXELS = 3


def refit(
    prompts: Sequence[SlicePrompt], block: MaskBlock, share: float, tolerance: float, error_mm: float
) -> list[SlicePrompt] | None:
    """Boxes between the given ones and those of the masks that they led to.

    Args:
        prompts: of one structure.
        block: the probabilities that they led to.
        share: how far to move, 1 is all the way to the mask's tight box.
        error_mm: what the new boxes are off.
        tolerance: mean distance of the boxes' sides, in box edges, up to which the given boxes are good.

    Returns:
        As many prompts in the same slices, sure ones as they were, or None where the given ones are good.
    """
    mask = largest_component(block.probability >= 0.5)
    given = np.array([prompt.box_xyxy for prompt in prompts])
    found = np.array([_tight(mask, block, prompt) for prompt in prompts])
    edges = np.tile(given[:, 2:] - given[:, :2], 2)
    seen = np.isfinite(found).all(axis=1)
    if not seen.any() or np.abs((found - given) / edges)[seen].mean() <= tolerance:
        return None
    sure = np.array([prompt.error_mm == 0 for prompt in prompts])
    moved = np.where((seen & ~sure)[:, None], share * found + (1 - share) * given, given)
    return [
        prompt
        if prompt.error_mm == 0
        else replace(prompt, box_xyxy=(float(x0), float(y0), float(x1), float(y1)), error_mm=error_mm)
        for prompt, (x0, y0, x1, y1) in zip(prompts, moved, strict=True)
    ]


def _tight(mask: NDArray[np.bool_], block: MaskBlock, prompt: SlicePrompt) -> tuple[float, ...]:
    """The mask's box in the prompt's slice, in pixel indices; NaN where there is hardly any mask."""
    z, y, x = block.origin_zyx
    plane = mask[prompt.z - z]
    if plane.sum() < _MIN_PIXELS:
        return (np.nan,) * 4
    rows, columns = filled(plane, 0), filled(plane, 1)
    return (columns[0] + x - 0.5, rows[0] + y - 0.5, columns[-1] + x + 0.5, rows[-1] + y + 0.5)
