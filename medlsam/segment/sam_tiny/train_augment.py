"""Regions without a name, and HU as scanners change them: they make ``sam-tiny`` look at boxes, not at names."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional


def flood(
    plane: NDArray[np.int16], spacing_uv: tuple[float, float], rng: np.random.Generator, tries: int = 6
) -> NDArray[np.bool_] | None:
    """Draw a connected region of similar HU, 8 to 180 mm wide; None if none is found."""
    window = [max(8, int(200 / s)) for s in reversed(spacing_uv)]
    for _ in range(tries):
        low = [int(rng.integers(0, max(1, n - w + 1))) for n, w in zip(plane.shape, window, strict=True)]
        part = np.s_[low[0] : low[0] + window[0], low[1] : low[1] + window[1]]
        blur = [rng.uniform(1.0, 5.0) / s for s in reversed(spacing_uv)]
        smooth = ndimage.gaussian_filter(plane[part].astype(np.float32), blur)
        body = np.argwhere(smooth > -950)
        if len(body) < 20:
            continue
        seed = tuple(body[rng.integers(len(body))])
        band = np.exp(rng.uniform(np.log(15), np.log(150)))
        similar = ndimage.binary_opening(np.abs(smooth - smooth[seed]) < band)
        numbered, _count = ndimage.label(similar)
        if numbered[seed] == 0:
            continue
        region = ndimage.binary_fill_holes(numbered == numbered[seed])
        where = ndimage.find_objects(region.astype(np.uint8))[0]
        height, width = ((s.stop - s.start) * p for s, p in zip(where, reversed(spacing_uv), strict=True))
        filled = region[where].mean()
        if 8 <= max(height, width) <= 180 and min(height, width) >= 4 and filled > 0.25 and region.sum() >= 6:
            mask = np.zeros(plane.shape, bool)
            mask[part] = region
            return mask
    return None


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
