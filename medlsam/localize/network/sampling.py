"""Sample maps at continuous places, with the grid arithmetic of strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from torch import Tensor

from medlsam.geometry import hat_weights


def sample_map(values: Tensor, points: Tensor, stride: int) -> Tensor:
    """Trilinear values of a feature map at places given in input voxels.

    Cell ``c`` of a map of stride ``s`` covers input voxels ``s*c .. s*c + s - 1``; its centre is at voxel
    ``s*c + (s - 1) / 2``. Outside, the border value holds.

    Args:
        values: (B, C, Z, Y, X) map.
        points: (B, N, 3) continuous input voxel indices, (x, y, z).
        stride: input voxels per cell.

    Returns:
        (B, N, C).
    """
    sizes = torch.tensor(values.shape[:1:-1], dtype=points.dtype, device=points.device)
    cells = (points - (stride - 1) / 2) / stride
    normalised = (2 * cells + 1) / sizes - 1
    sampled = F.grid_sample(
        values, normalised[:, :, None, None].to(values.dtype), align_corners=False, padding_mode="border"
    )
    return sampled[..., 0, 0].transpose(1, 2)


def sample_places(values: Tensor, points: Tensor, stride: int) -> Tensor:
    """Sample a large map at a few places as ``sample_map`` does, reading only the eight cells around each.

    Args:
        values: (C, Z, Y, X) map, any float type.
        points: (N, 3) continuous input voxel indices, (x, y, z).
        stride: input voxels per cell.

    Returns:
        (N, C) float32.
    """
    last = torch.tensor(values.shape[1:]) - 1
    cells = ((points.flip(-1) - (stride - 1) / 2) / stride).clamp(min=0).minimum(last)
    first = cells.long()
    # (N, 2) along each axis: the two cells, and what each counts for.
    pairs = torch.stack([first, (first + 1).minimum(last)], dim=-1)
    part = (cells - first).float()
    share = torch.stack([1 - part, part], dim=-1)
    z, y, x = pairs.unbind(1)
    _, _, rows, columns = values.shape
    corners = (z[:, :, None, None] * rows + y[:, None, :, None]) * columns + x[:, None, None, :]
    # Encoders leave their maps with the channels last, so this is no copy, and index_select copies whole rows.
    found = values.permute(1, 2, 3, 0).flatten(0, 2).index_select(0, corners.flatten()).float()
    z, y, x = share.unbind(1)
    weight = z[:, :, None, None] * y[:, None, :, None] * x[:, None, None, :]
    return (weight.flatten(1)[:, None] @ found.view(len(points), 8, len(values)))[:, 0]


def cell_centres(shape_zyx: tuple[int, int, int], stride: int) -> Tensor:
    """(Z, Y, X, 3) input voxel indices (x, y, z) of the cell centres of a map of this shape and stride."""
    axes = [torch.arange(n, dtype=torch.float32) * stride + (stride - 1) / 2 for n in shape_zyx]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def sample_lattice(values: Tensor, voxels: Sequence[NDArray[np.float64]], stride: int) -> Tensor:
    """Trilinear values of a map at all places of a lattice, the border's beyond it.

    Args:
        values: (C, Z, Y, X), any float type.
        voxels: input voxel coordinates along x, y, z.
        stride: input voxels per cell of the map.

    Returns:
        (Z, Y, X, C) float32.
    """
    spans, weights = [], []
    for size, places in zip(values.shape[:0:-1], voxels, strict=True):
        cells = np.clip((places - (stride - 1) / 2) / stride, 0, size - 1)
        first, last = int(cells.min()), math.ceil(cells.max())
        grid = np.arange(first, last + 1)
        spans.append(slice(first, last + 1))
        weights.append(torch.from_numpy(hat_weights(cells, grid)).float())
    x, y, z = weights
    # Channels last, as encoders leave their maps: every axis is one matrix product.
    part = values[:, spans[2], spans[1], spans[0]].permute(1, 2, 3, 0).float()
    along_z = (z @ part.flatten(1)).unflatten(1, part.shape[1:])
    along_y = (y @ along_z.flatten(2)).unflatten(2, part.shape[2:])
    found: Tensor = x @ along_y
    return found
