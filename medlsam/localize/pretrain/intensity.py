"""Intensity augmentation of normalised views on the device that trains.

The changes are drawn beforehand, with the view; only the noise itself is drawn on the device, by a generator with a
seed of its own. So a view does not depend on the process, worker or step that draws it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
#: Normalised HU where a random curve has knots: -150 to 400 HU of the encoder's usual scale, that is soft tissue with
#: and without contrast. The ends are fixed, so air, lung, most fat and dense bone stay what they are.
REMAP_KNOTS = np.linspace(0.275, 0.83, 13)
#: Share of the curves that keep the order of the values, and the spread (natural logarithm) of their increments.
_MONOTONE_SHARE, _INCREMENT_LOG = 2 / 3, 0.7
#: The other curves leave the straight line by waves: how many, and the standard deviation of each, relative to the
#: range. With these the order of tissues turns somewhere on nearly every curve.
_WAVES, _WAVE = 5, 0.1
#: Thickness of simulated slices, mm.
THICK_MM = (5.0, 10.0)


@dataclass(frozen=True)
class IntensityOptions:
    """Changes of values beyond gamma, blur and noise; off by default.

    Attributes:
        remap_probability: chance that the soft-tissue values of a view go through a random curve, as another contrast
            phase changes them.
        thick_probability: chance that a view is drawn from thick slices, 5 to 10 mm along the scan's z axis.
    """

    remap_probability: float = 0.0
    thick_probability: float = 0.0


@dataclass(frozen=True)
class Intensity:
    """Changes of one view's values.

    Attributes:
        gamma: exponent; 1 for none.
        blur: standard deviations along z, y, x, voxels; None for none.
        noise: standard deviation; 0 for none.
        seed: of the noise.
        remap: the values at ``REMAP_KNOTS``, the first and the last as they are there; None for none.
        slab_mm: thickness of the slices that the view is drawn from, and how far below the block's first voxel one
            begins, at most that thickness; None for the scan's own slices.
    """

    gamma: float = 1.0
    blur: tuple[float, float, float] | None = None
    noise: float = 0.0
    seed: int = 0
    remap: tuple[float, ...] | None = None
    slab_mm: tuple[float, float] | None = None


def draw_intensity(rng: np.random.Generator, options: IntensityOptions | None = None) -> Intensity:
    """Draw the changes of one view.

    Args:
        rng: advances equally far whatever the changes are; what is off draws nothing.
        options: the changes beyond gamma, blur and noise; none of them where None.
    """
    options = options or IntensityOptions()
    chances, gamma, noise = rng.random(3), rng.uniform(-GAMMA_LOG, GAMMA_LOG), rng.uniform(0, NOISE)
    z, y, x = rng.uniform(0, BLUR_VOXELS, 3).tolist()
    how = Intensity(
        gamma=float(np.exp(gamma)) if chances[0] < GAMMA_PROBABILITY else 1.0,
        blur=(z, y, x) if chances[1] < BLUR_PROBABILITY else None,
        noise=float(noise) if chances[2] < NOISE_PROBABILITY else 0.0,
        seed=int(rng.integers(2**62)),
    )
    if options.remap_probability > 0:
        chance, curve = rng.random(), _draw_curve(rng)
        how = replace(how, remap=curve if chance < options.remap_probability else None)
    if options.thick_probability > 0:
        chance, thickness, share = rng.random(), rng.uniform(*THICK_MM), rng.random()
        slab_mm = (float(thickness), float(share * thickness))
        how = replace(how, slab_mm=slab_mm if chance < options.thick_probability else None)
    return how


def thick_slices(block: Tensor, slab_mm: tuple[float, float], spacing_mm: float) -> Tensor:
    """Average a block of a scan over slabs along z, and interpolate the slabs back to its grid.

    Places stay: a slab's mean counts as the value at its centre, so what rises evenly along z stays as it is, but for
    the half slab at either end of the block.

    Args:
        block: (Z, Y, X) HU, on any device.
        slab_mm: see ``Intensity``.
        spacing_mm: of the block, along z.

    Returns:
        (Z, Y, X) float32.
    """
    count = block.shape[0]
    thickness, before = slab_mm[0] / spacing_mm, slab_mm[1] / spacing_mm
    voxels = np.arange(count)
    # Voxel 0 begins at -0.5; slabs go on to the end of the last voxel.
    edges = np.arange(-0.5 - before, count - 0.5 + thickness, thickness)
    # Between voxels the scan is linear: voxel i weighs as a triangle of half width 1, whose integral is taken.
    reach = (edges[:, None] - voxels).clip(-1, 1)
    integral = np.where(reach < 0, (1 + reach) ** 2 / 2, 1 - (1 - reach) ** 2 / 2)
    weights = np.diff(integral, axis=0)
    # Slabs that only touch the block would be means of next to nothing.
    weights = weights[weights.sum(axis=1) > 1e-3]
    weights /= weights.sum(axis=1, keepdims=True)
    # At the ends of the block a slab is cut off, and its centre is that of what is left.
    centres = weights @ voxels
    # Averaging and interpolation are both linear: one small matrix (Z, Z) does both.
    back = np.stack([np.interp(voxels, centres, one) for one in np.eye(len(centres))], axis=1)
    matrix = torch.as_tensor(back @ weights, dtype=torch.float32).to(block.device)
    return (matrix @ block.float().reshape(count, -1)).view(block.shape)


def _draw_curve(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw the values at ``REMAP_KNOTS``: most curves keep their order, the others do not."""
    low, size = REMAP_KNOTS[0], np.ptp(REMAP_KNOTS)
    monotone = rng.random() < _MONOTONE_SHARE
    increments = np.exp(rng.normal(0, _INCREMENT_LOG, len(REMAP_KNOTS) - 1))
    heights = rng.normal(0, _WAVE * size, _WAVES)
    if monotone:
        values = low + size * np.cumsum(np.r_[0, increments]) / increments.sum()
    else:
        # Sines are zero at both ends.
        phase = np.pi * np.outer(np.arange(1, _WAVES + 1), np.linspace(0, 1, len(REMAP_KNOTS)))
        values = REMAP_KNOTS + heights @ np.sin(phase)
    values = values.clip(low, low + size)
    values[[0, -1]] = REMAP_KNOTS[[0, -1]]  # not even rounding moves the ends
    return tuple(values.tolist())


def change_intensity(view: Tensor, how: Intensity) -> Tensor:
    """Apply the random curve, then gamma, blur and noise; slices were made thick before (``thick_slices``).

    Args:
        view: (Z, Y, X) normalised HU, on any device.
        how: the changes.

    Returns:
        (Z, Y, X).
    """
    view = view.clamp(min=0)
    if how.remap is not None:
        view = _remap(view, how.remap)
    if how.gamma != 1:
        view = view.pow(how.gamma)
    if how.blur is not None:
        view = _blur(view, how.blur)
    if how.noise:
        generator = torch.Generator(view.device).manual_seed(how.seed)
        view = view + how.noise * torch.randn(view.shape, generator=generator, device=view.device)
    return view


def _remap(view: Tensor, values: tuple[float, ...]) -> Tensor:
    """Send values through a curve, linear between ``REMAP_KNOTS``; beyond its ends they stay exactly."""
    # Displacements are interpolated, which are zero at the ends and so beyond them.
    moves = torch.as_tensor(np.asarray(values) - REMAP_KNOTS, dtype=torch.float32).to(view.device)
    last = len(values) - 1
    place = ((view - float(REMAP_KNOTS[0])) * (last / float(np.ptp(REMAP_KNOTS)))).clamp(0, last)
    below = place.floor().clamp(max=last - 1)
    left = below.flatten().int()
    moved = torch.lerp(
        moves.index_select(0, left), moves.index_select(0, left + 1), (place - below).flatten()
    )
    return view + moved.view(view.shape)


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
