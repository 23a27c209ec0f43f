"""Reading maps off at continuous places, and the grid arithmetic that goes with strides."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor


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


def cell_centres(shape_zyx: tuple[int, int, int], stride: int) -> Tensor:
    """(Z, Y, X, 3) input voxel indices (x, y, z) of the cell centres of a map of this shape and stride."""
    axes = [torch.arange(n, dtype=torch.float32) * stride + (stride - 1) / 2 for n in shape_zyx]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)
