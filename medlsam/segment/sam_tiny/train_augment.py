"""HU as scanners change them, and shapes drawn into boxes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def disturb(crop: Tensor, rng: np.random.Generator) -> Tensor:
    """Change HU (3, S, S) as scanners, doses and reconstructions do."""
    size = crop.shape[-1]
    if rng.random() < 0.25:
        coarse = int(size / rng.uniform(1.5, 3.0))
        crop = functional.interpolate(crop[None], size=(coarse, coarse), mode="area")
        crop = functional.interpolate(crop, size=(size, size), mode="bilinear", align_corners=False)[0]
    crop = crop * float(rng.uniform(0.92, 1.08)) + float(rng.normal(0, 20))
    if rng.random() < 0.5:
        grain = size // int(rng.choice([1, 2, 4]))
        noise = torch.from_numpy(rng.standard_normal((1, 3, grain, grain), dtype=np.float32))
        noise = functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)[0]
        crop = crop + noise * float(rng.uniform(3, 40))
    return crop


def warp(shape: NDArray[np.float32], box: NDArray[np.float64], size: int) -> Tensor:
    """Draw a shape that fills ``box`` (crop coordinates 0 to 1) on a crop of ``size`` pixels, 0 outside."""
    places = (torch.arange(size) + 0.5) / size
    x = (places - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (places - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None].float()
    return functional.grid_sample(torch.from_numpy(shape)[None, None], grid, align_corners=False)[0, 0]
