"""Cut a training sample around a box: the crop, and all that is said about it in the crop's pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.segment.sam_tiny.crops import channels, neighbour_step, planes_at, sample
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_augment import disturb, warp
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_masks import MaskPrompt
from medlsam.segment.sam_tiny.train_plane import TurnedPlane

Sample = dict[str, Tensor]
NO_POINTS = ((0.0, 0.0, -1.0), (0.0, 0.0, -1.0))


def cut_sample(
    plane: TurnedPlane,
    index: int,
    mask: NDArray[np.bool_],
    box: NDArray[np.float64],
    error_mm: float,
    mask_prompt: MaskPrompt | None,
    net: TinyConfig,
    sampling: SamplingConfig,
    rng: np.random.Generator,
) -> Sample:
    """Cut the crop around a prompt.

    Args:
        plane: of the scan; boxes are in its turned millimetres.
        index: of the slice.
        mask: (rows, columns) of the slice: what is to be found.
        box: (4,) turned mm.
        error_mm: standard deviation of its sides that the network is told.
        mask_prompt: as given to the network, or None.
        net: its crop size and windows.
        sampling: zoom, smallest side, points and HU.
        rng: the only source of chance.

    Returns:
        ``crop`` (channels, S, S), ``box`` (4,) and ``error`` () in crop pixels, ``mask`` (S, S) 0 or 1, ``mask_prompt``
        (S/2, S/2) probabilities, NaN where none, and ``points`` (2, 3).
    """
    size = net.size
    longest = float((box[2:] - box[:2]).max())
    zoom = float(np.exp(rng.uniform(*np.log(sampling.zoom))))
    side = max(zoom * longest, float(rng.uniform(*sampling.min_side_mm)))
    center = (box[:2] + box[2:]) / 2
    if sampling.intensity:
        center = center + rng.normal(0, 0.02, 2) * side
    frame = plane.frame(center, side)
    stack = np.moveaxis(plane.case.image, plane.axis, 0)
    step = neighbour_step(plane.case.spacing_zyx[plane.axis], net.neighbour_mm)
    crop = sample(planes_at(stack, index, step), frame, size)
    target = (sample([mask.view(np.uint8)], frame, size, fill=0.0)[0] > 0.5).float()
    if sampling.intensity:
        crop = disturb(crop, rng)
    low = center - side / 2
    prompt = (box - np.tile(low, 2)) / side * size
    rough = torch.full((size // 2, size // 2), torch.nan)
    if mask_prompt is not None:
        rough = warp(mask_prompt.probability, (mask_prompt.where - np.tile(low, 2)) / side, size // 2)
    with_points = rng.random() < sampling.points
    return {
        "crop": channels(crop, net.windows),
        "box": torch.from_numpy(prompt).float(),
        "error": torch.tensor(error_mm / side * size),
        "mask": target,
        "mask_prompt": rough,
        "points": _points(target.numpy() > 0.5, prompt, rng) if with_points else torch.tensor(NO_POINTS),
    }


def _points(mask: NDArray[np.bool_], box: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Draw a point inside a mask on the crop and one outside near its box: (2, 3); one may be missing."""
    given = torch.tensor(NO_POINTS)
    kinds = (True, False) if rng.random() < 0.4 else (bool(rng.random() < 0.5),)
    low, high = (np.clip(side, 0, len(mask)) for side in (box[:2] - 4, box[2:] + 4))
    near = np.zeros_like(mask)
    near[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1] = True
    for slot, inside in enumerate(kinds):
        able = np.argwhere(mask if inside else near & ~mask)
        if len(able):
            y, x = able[rng.integers(len(able))]
            given[slot] = torch.tensor([x + 0.5, y + 0.5, float(inside)])
    return given
