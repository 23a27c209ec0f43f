"""Changes of a training patch: mirrored, turned and stretched, and with other contrast and noise."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

#: How often each change is made (nnU-Net's shares), and how far it goes.
_TURNED, _DEGREES, _ZOOM = 0.3, 30.0, (0.75, 1.3)
_CONTRAST, _NOISE = 0.15, 0.1


def augment(
    image: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Change a patch at random.

    Args:
        image: (Z, Y, X), standardised.
        labels: (Z, Y, X) classes.
        rng: of the draws.

    Returns:
        Both, of the same shape and type.
    """
    axes = tuple(axis for axis in range(3) if rng.random() < 0.5)
    image, labels = np.flip(image, axes), np.flip(labels, axes)
    if rng.random() < _TURNED:
        image, labels = _turned(image, labels, rng)
    if rng.random() < _CONTRAST:
        mean = image.mean()
        image = (image - mean) * np.float32(rng.uniform(0.75, 1.25)) + mean
    if rng.random() < _CONTRAST:
        image = image + np.float32(rng.normal(0, 0.1))
    if rng.random() < _NOISE:
        image = image + rng.normal(0, rng.uniform(0, 0.3), image.shape).astype(np.float32)
    return np.ascontiguousarray(image, np.float32), np.ascontiguousarray(labels)


def _turned(
    image: NDArray[np.float32], labels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Turn about the z axis and stretch all axes alike, around the middle."""
    angle, zoom = math.radians(rng.uniform(-_DEGREES, _DEGREES)), 1 / rng.uniform(*_ZOOM)
    z, y, x = image.shape
    # In units of each axis's half length, which differ.
    turn = torch.tensor(
        [
            [zoom * math.cos(angle), -zoom * math.sin(angle) * y / x, 0, 0],
            [zoom * math.sin(angle) * x / y, zoom * math.cos(angle), 0, 0],
            [0, 0, zoom, 0],
        ],
        dtype=torch.float32,
    )
    grid = functional.affine_grid(turn[None], [1, 1, z, y, x], align_corners=False)

    def sampled(array: Tensor, mode: str, padding: str) -> Tensor:
        return functional.grid_sample(array[None, None], grid, mode, padding, align_corners=False)[0, 0]

    hu = sampled(torch.from_numpy(np.ascontiguousarray(image)), "bilinear", "border")
    classes = sampled(torch.from_numpy(np.ascontiguousarray(labels)).float(), "nearest", "zeros")
    return hu.numpy(), classes.numpy().astype(np.uint8)
