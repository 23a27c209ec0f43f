"""Intensity augmentation of normalised views on the device that trains.

The changes are drawn beforehand, with the view; only the noise itself is drawn on the device, by a generator with a
seed of its own. So a view does not depend on the process, worker or step that draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

#: Chance and extent of each change.
GAMMA_PROBABILITY, GAMMA_LOG = 0.5, 0.25
BLUR_PROBABILITY, BLUR_VOXELS = 0.25, 0.8
NOISE_PROBABILITY, NOISE = 0.5, 0.05
#: Half width of the blur's kernel, four standard deviations at most.
_BLUR_REACH = 3


@dataclass(frozen=True)
class Intensity:
    """Changes of one view's values.

    Attributes:
        gamma: exponent; 1 for none.
        blur: standard deviations along z, y, x, voxels; None for none.
        noise: standard deviation; 0 for none.
        seed: of the noise.
    """

    gamma: float = 1.0
    blur: tuple[float, float, float] | None = None
    noise: float = 0.0
    seed: int = 0


def draw_intensity(rng: np.random.Generator) -> Intensity:
    """Draw the changes of one view; the generator advances equally far whatever they are."""
    chances, gamma, noise = rng.random(3), rng.uniform(-GAMMA_LOG, GAMMA_LOG), rng.uniform(0, NOISE)
    z, y, x = rng.uniform(0, BLUR_VOXELS, 3).tolist()
    return Intensity(
        gamma=float(np.exp(gamma)) if chances[0] < GAMMA_PROBABILITY else 1.0,
        blur=(z, y, x) if chances[1] < BLUR_PROBABILITY else None,
        noise=float(noise) if chances[2] < NOISE_PROBABILITY else 0.0,
        seed=int(rng.integers(2**62)),
    )


def change_intensity(view: Tensor, how: Intensity) -> Tensor:
    """Apply gamma, then blur, then noise.

    Args:
        view: (Z, Y, X) normalised HU, on any device.
        how: the changes.

    Returns:
        (Z, Y, X).
    """
    view = view.clamp(min=0)
    if how.gamma != 1:
        view = view.pow(how.gamma)
    if how.blur is not None:
        view = _blur(view, how.blur)
    if how.noise:
        generator = torch.Generator(view.device).manual_seed(how.seed)
        view = view + how.noise * torch.randn(view.shape, generator=generator, device=view.device)
    return view


def _blur(view: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """Blur by a Gaussian along each axis; beyond the border the border's values hold."""
    steps = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=torch.float32)
    for axis, sigma in enumerate(sigmas):
        weights = torch.exp(-0.5 * (steps / max(sigma, 1e-3)) ** 2)
        kernel = (weights / weights.sum()).to(view.device)[None, None]
        rows = view.movedim(axis, -1)
        padded = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (_BLUR_REACH, _BLUR_REACH), mode="replicate")
        view = F.conv1d(padded, kernel).reshape(rows.shape).movedim(-1, axis)
    return view
