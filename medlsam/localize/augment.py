"""Intensity augmentation of normalised views, by torchio (1.2 API; this is the only file that knows it)."""

from __future__ import annotations

import numpy as np
import torch
import torchio as tio
from torch import Tensor


def intensity_augmentation() -> tio.Compose:
    """Gamma, blur and noise for (1, Z, Y, X) tensors of normalised HU (about 0..1)."""
    return tio.Compose(
        [
            tio.RandomGamma(log_gamma=(-0.25, 0.25), p=0.5),
            tio.RandomBlur(std=(0.0, 0.8), p=0.25),
            tio.RandomNoise(mean=0.0, std=(0.0, 0.05), p=0.5),
        ]
    )


def augment(views: Tensor, transform: tio.Compose, rng: np.random.Generator) -> Tensor:
    """Augment each view by itself.

    Args:
        views: (V, Z, Y, X) normalised HU.
        transform: from ``intensity_augmentation``.
        rng: torchio draws from torch's global generator, which is seeded from this one and put back after.

    Returns:
        (V, Z, Y, X).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**62)))
        return torch.stack([transform(view[None].clamp(min=0))[0] for view in views])
