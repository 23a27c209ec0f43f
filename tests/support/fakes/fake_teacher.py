"""A teacher whose masks are known: what is brighter than a limit inside the box."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor


class FakeTeacher:
    """Its embedding is the slice itself.

    Attributes:
        limit: HU; brighter pixels, after a little blur, are the mask.
        quality: IoU that it expects of every mask.
        seen: slices that it encoded.
    """

    name = "fake"

    def __init__(self, limit: float = 50.0, quality: float = 0.9, signature: str = "fake") -> None:
        self.limit, self.quality, self.signature = limit, quality, signature
        self.seen = 0

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        self.seen += 1
        return torch.from_numpy(slice_hu.astype(np.float32))

    def decode(
        self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        y, x = np.mgrid[: shape_hw[0], : shape_hw[1]]
        bright = ndimage.gaussian_filter(embedding.numpy(), 1.0) > self.limit
        rows = np.asarray(boxes, dtype=float).reshape(-1, 4)
        masks = [bright & (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) for x0, y0, x1, y1 in rows]
        return np.stack(masks), np.full(len(rows), self.quality, np.float32)
