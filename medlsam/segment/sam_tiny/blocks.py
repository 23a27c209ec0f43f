"""One prompt's way to its crop, and the crop's answer's way back into the structure's block of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.geometry import tight_slices
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.sam_tiny.crops import CropFrame, paste, sample

# Logits below this (a probability of 2 %) count as 0: most of a crop, which need not be brought to the slice's pixels.
_NOTHING = -4.0


@dataclass(frozen=True)
class CropItem:
    """One crop to do.

    Attributes:
        organ: whose it is.
        prompt: its slice and box.
        frame: where it lies in the slice.
        low_xy: first column and row, of the slice's pixels, that it answers for.
        high_xy: the end of them: one column and row after the last.
    """

    organ: str
    prompt: SlicePrompt
    frame: CropFrame
    low_xy: tuple[int, int]
    high_xy: tuple[int, int]


def empty_block(items: Sequence[CropItem]) -> MaskBlock:
    """A block of zeros that all crops of a structure fit into."""
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
    """Put one crop's answer into the structure's block; several prompts in one slice: the larger counts.

    Args:
        block: (Z, Y, X) probabilities; changed.
        item: the crop.
        logits: (S, S) on the crop's pixels, rows first.
    """
    window = _something(item, logits)
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


def _something(item: CropItem, logits: Tensor) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """First and end (column, row) of the slice's pixels that a crop says something about; None where there are none."""
    rows, columns = tight_slices((logits > _NOTHING).numpy())
    if not columns.stop:
        return None
    # A pixel more: between it and the next one values still rise.
    first, last = np.array([columns.start, rows.start]) - 1, np.array([columns.stop, rows.stop]) + 1
    corners = item.frame.to_pixels(np.array([first, last]) / logits.shape[-1])
    low = np.clip(np.ceil(corners[0]), item.low_xy, item.high_xy).astype(int)
    high = np.clip(np.floor(corners[1]) + 1, item.low_xy, item.high_xy).astype(int)
    if (low >= high).any():
        return None
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))


def hint(prior: MaskBlock | None, item: CropItem, size: int) -> Tensor:
    """The prior's slice on the crop: (size, size) probabilities, rows first; NaN where there is none."""
    index = -1 if prior is None else item.prompt.z - prior.origin_zyx[0]
    if prior is None or not 0 <= index < len(prior.probability):
        return torch.full((size, size), torch.nan)
    plane: NDArray[np.float32] = prior.probability[index][None]
    shift = (item.frame.center_uv[0] - prior.origin_zyx[2], item.frame.center_uv[1] - prior.origin_zyx[1])
    return sample(plane, CropFrame(shift, item.frame.side_mm, item.frame.spacing_uv), size, fill=0.0)[0]
