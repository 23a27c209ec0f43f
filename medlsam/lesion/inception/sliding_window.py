"""A patch network over a whole scan: windows that overlap, each voxel the mean of those that saw it.

A window's middle is worth more than its border (a Gaussian, as in nnU-Net), which torchio's ``GridAggregator`` does not
offer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medlsam.errors import UsageError

#: Standard deviation of the Gaussian, as a share of the window.
_SIGMA = 1 / 8
#: Axes (of Z, Y, X) along which windows are mirrored, and their answers averaged.
_MIRRORED = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def sliding_window(
    volume: NDArray[np.float32],
    network: Callable[[Tensor], Tensor],
    patch_zyx: tuple[int, int, int],
    classes: int,
    *,
    overlap: float = 0.5,
    batch: int = 1,
    mirror: bool = False,
    fill: float = 0.0,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Compute the probabilities of every voxel.

    Args:
        volume: (Z, Y, X), standardised.
        network: logits (B, classes, *patch) of windows (B, 1, *patch), on ``device``, without gradient.
        patch_zyx: size of the windows.
        classes: with the background.
        overlap: share of a window that the next one covers again, 0 to below 1.
        batch: windows at once.
        mirror: also see every window mirrored along all axes: eight times the work.
        fill: value around the volume where a window is larger than it.
        device: where the network runs.

    Returns:
        (classes, Z, Y, X), float32, summing to 1.

    Raises:
        UsageError: an overlap that is no such share.
    """
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap is a share from 0 to below 1, got {overlap}")
    missing = [max(0, size - n) for size, n in zip(patch_zyx, volume.shape, strict=True)]
    pads = [(m // 2, m - m // 2) for m in missing]
    padded = np.pad(volume, pads, constant_values=fill)
    weight = gaussian(patch_zyx)
    total = np.zeros((classes, *padded.shape), np.float32)
    seen = np.zeros(padded.shape, np.float32)
    places = list(starts(padded.shape, patch_zyx, overlap))
    mirrored = _MIRRORED if mirror else _MIRRORED[:1]
    for begin in range(0, len(places), batch):
        boxes = [
            tuple(slice(a, a + n) for a, n in zip(start, patch_zyx, strict=True))
            for start in places[begin : begin + batch]
        ]
        windows = torch.from_numpy(np.stack([padded[box] for box in boxes])[:, None]).to(device)
        answer = sum(
            (
                functional.softmax(network(windows.flip([a + 2 for a in axes])).float(), 1).flip(
                    [a + 2 for a in axes]
                )
                for axes in mirrored
            ),
            torch.zeros((), device=device),
        ) / len(mirrored)
        for box, part in zip(boxes, answer.cpu().numpy(), strict=True):
            total[(slice(None), *box)] += part * weight
            seen[box] += weight
    total /= seen
    inner = tuple(slice(a, a + n) for (a, _), n in zip(pads, volume.shape, strict=True))
    return np.ascontiguousarray(total[(slice(None), *inner)])


def starts(shape: Sequence[int], patch: Sequence[int], overlap: float) -> Iterator[tuple[int, int, int]]:
    """Place windows so that they cover a volume evenly, the first and last of each axis at its ends.

    Args:
        shape: of the volume, at least that of the window.
        patch: of the window.
        overlap: the least share of a window that the next one covers again.
    """
    axes = []
    for n, size in zip(shape, patch, strict=True):
        count = math.ceil((n - size) / max(1.0, size * (1 - overlap))) + 1
        axes.append([round(place) for place in np.linspace(0, n - size, count)])
    for z in axes[0]:
        for y in axes[1]:
            for x in axes[2]:
                yield z, y, x


def gaussian(size: tuple[int, int, int]) -> NDArray[np.float32]:
    """The weight of each voxel of a window: 1 in the middle, never 0.

    Args:
        size: (z, y, x).
    """
    curves = []
    for n in size:
        places = (np.arange(n) - (n - 1) / 2) / (n * _SIGMA)
        curves.append(np.exp(-0.5 * places**2))
    weight = curves[0][:, None, None] * curves[1][None, :, None] * curves[2][None, None]
    weight /= weight.max()
    return np.maximum(weight, 1e-3).astype(np.float32)  # type: ignore[no-any-return]
