"""Template kernels of the published search: cut a small block of features, and find where it fits best.

The original takes the same 24 mm at each scale (2, 4 and 8 cells to a side) and slides the block over the scan's
features. Here a kernel is one row of numbers, so that templates store it as they store any feature: every scale's part
is a unit vector, and the product with another kernel is the sum of three mean cosines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from medlsam.localize.medlam.network import PATCH, STRIDES

#: Input voxels that a kernel covers at each scale.
KERNEL = 8
#: Cells of a kernel to a side, coarse to fine.
SIDES = tuple(KERNEL // stride for stride in STRIDES)
#: Cells of all its scales together.
CELLS = sum(side**3 for side in SIDES)


def cut_kernels(maps: Sequence[Tensor]) -> Tensor:
    """(B, CELLS * C) kernels around the voxel in the middle (index 32) of cubes.

    Args:
        maps: (B, C, n, n, n) unit features at strides 4, 2 and 1.
    """
    parts = []
    for level, side in zip(maps, SIDES, strict=True):
        middle = slice((level.shape[-1] - side) // 2, (level.shape[-1] + side) // 2)
        parts.append(level[:, :, middle, middle, middle].flatten(1) / side**1.5)
    return torch.cat(parts, dim=1)


def fit_kernels(
    maps: Sequence[Tensor], kernels: Tensor, middle: Sequence[int], reach: int
) -> tuple[Tensor, Tensor]:
    """Compute how well kernels fit around each voxel near one voxel of a cube.

    Args:
        maps: (C, n, n, n) unit features at strides 4, 2 and 1.
        kernels: (S, CELLS * C) as ``cut_kernels`` gives them, or means of such.
        middle: the voxel (z, y, x) of the cube.
        reach: voxels to each side that are wanted at least.

    Returns:
        (S, a, b, c) mean cosine of the three scales, and (a, b, c, 3) the voxels (z, y, x) that they are of: 0 to 64,
        the one behind the cube's last included. Cells outside the cube count as cosine 0, as in the original.
    """
    # Whole cells of the coarsest scale, so that every scale begins and ends on the same voxel.
    step = STRIDES[0]
    first = [max((m - reach) // step * step, 0) for m in middle]
    last = [min(-(-(m + reach) // step) * step, PATCH) for m in middle]
    size = tuple(b - a + 1 for a, b in zip(first, last, strict=True))
    channels = maps[0].shape[0]
    parts = kernels.split([channels * side**3 for side in SIDES], dim=1)
    score = torch.zeros(len(kernels), *size, device=maps[0].device)
    for level, part, side, stride in zip(maps, parts, SIDES, STRIDES, strict=True):
        # The kernel around voxel v starts half a kernel before it; the padding shifts indices by as much.
        z, y, x = (slice(a // stride, b // stride + side) for a, b in zip(first, last, strict=True))
        around = F.pad(level, (side // 2,) * 6)[:, z, y, x]
        found = _correlate(around, part.unflatten(1, (channels, side, side, side))) / side**1.5
        score += F.interpolate(found[None], size, mode="trilinear", align_corners=True)[0]
    axes = [torch.arange(a, b + 1, device=score.device) for a, b in zip(first, last, strict=True)]
    return score / len(STRIDES), torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def _correlate(values: Tensor, kernels: Tensor) -> Tensor:
    """(S, a - k + 1, ...) products of (S, C, k, k, k) kernels with (C, a, b, c) values at every place where they fit.

    By Fourier transform: a kernel of 8 voxels to a side costs a third of what it does as a convolution.
    """
    size = values.shape[1:]
    z, y, x = (n - kernels.shape[-1] + 1 for n in size)
    spectrum = torch.fft.rfftn(values, dim=(1, 2, 3))
    found = [
        torch.fft.irfftn((spectrum * torch.fft.rfftn(kernel, size, dim=(1, 2, 3)).conj()).sum(dim=0), size)
        for kernel in kernels
    ]
    return torch.stack(found)[:, :z, :y, :x]
