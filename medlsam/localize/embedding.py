"""One scan seen by the encoder: latent positions of every cell and features of every voxel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Grid
from medlsam.localize.encoder import (
    POSITION_STRIDE,
    SIZE_MULTIPLE,
    Encoder,
    EncoderConfig,
    normalise_hu,
)
from medlsam.localize.sampling import cell_centres, sample_map
from medlsam.localize.views import AIR_HU, BODY_HU
from medlsam.volume import Volume, lps_grid, resample

#: The finest feature stride; the three scales are brought to it and stacked.
FEATURE_STRIDE = 2
#: A scan gets at least this margin of air, in voxels, so that border cells see what they saw in training.
_MARGIN = 4


@dataclass(frozen=True, eq=False)
class Embedding:
    """What the encoder says of one scan. All places are LPS mm.

    Attributes:
        grid: the encoder's input grid (isotropic, identity direction).
        view: the box of the scan itself, LPS mm as ((3,) low, (3,) high): what lies outside it was not scanned.
        positions: (3, Z/8, Y/8, X/8) latent positions (x, y, z).
        features: (3 * C, Z/2, Y/2, X/2): unit vectors of three scales, stacked coarse to fine.
        body8: (Z/8, Y/8, X/8) boolean: cells with body in them.
        range_mm: (3,) r of equation 2, (x, y, z).
    """

    grid: Grid
    view: tuple[NDArray[np.float64], NDArray[np.float64]]
    positions: Tensor
    features: Tensor
    body8: Tensor
    range_mm: Tensor

    @property
    def spacing(self) -> float:
        """Input voxel spacing, mm."""
        return self.grid.spacing_xyz[0]

    @cached_property
    def feature_rows(self) -> Tensor:
        """(cells, 3 * C): the features with one row a cell, z slowest; made on first use."""
        return self.features.flatten(1).T.contiguous()

    def to_lps(self, voxels: Tensor) -> Tensor:
        """(..., 3) input voxel indices (x, y, z) to LPS mm."""
        return voxels * self.spacing + torch.tensor(self.grid.origin_xyz, dtype=torch.float32)

    def to_voxels(self, points: ArrayLike | Tensor) -> Tensor:
        """(..., 3) LPS mm to input voxel indices (x, y, z)."""
        tensor = torch.as_tensor(np.asarray(points), dtype=torch.float32)
        return (tensor - torch.tensor(self.grid.origin_xyz, dtype=torch.float32)) / self.spacing

    def cells(self, stride: int) -> Tensor:
        """(Z, Y, X, 3) LPS mm of the cell centres at a stride (8: positions, 2: features)."""
        reference = self.positions if stride == POSITION_STRIDE else self.features
        z, y, x = reference.shape[1:]
        return self.to_lps(cell_centres((z, y, x), stride))

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Latent positions (N, 3) and stacked unit features (N, 3 * C) at (N, 3) LPS mm."""
        voxels = self.to_voxels(points)[None]
        latents = sample_map(self.positions[None], voxels, POSITION_STRIDE)[0]
        features = sample_map(self.features[None], voxels, FEATURE_STRIDE)[0]
        parts = features.unflatten(-1, (3, -1))
        return latents, F.normalize(parts, dim=-1).reshape(features.shape)


def encoder_grid(grid: Grid, spacing_mm: float) -> Grid:
    """The isotropic axis-aligned grid around a scan that the encoder works on, sizes multiples of 16."""
    base = lps_grid(grid, (spacing_mm,) * 3)
    sizes = [math.ceil((n + 2 * _MARGIN) / SIZE_MULTIPLE) * SIZE_MULTIPLE for n in base.shape_zyx]
    before = [(size - n) // 2 for size, n in zip(sizes, base.shape_zyx, strict=True)]
    origin = np.asarray(base.origin_xyz) - np.asarray(before[::-1]) * spacing_mm
    return Grid((sizes[0], sizes[1], sizes[2]), base.spacing_xyz, (origin[0], origin[1], origin[2]))


def body_cells(hu: Tensor, stride: int) -> Tensor:
    """(Z/s, Y/s, X/s) boolean: cells of which at least a quarter is denser than air."""
    inside = (hu > BODY_HU).float()[None, None]
    return F.avg_pool3d(inside, stride)[0, 0] >= 0.25


@torch.inference_mode()
def embed(volume: Volume, encoder: Encoder, device: torch.device | None = None) -> Embedding:
    """Run the encoder over a whole scan.

    Args:
        volume: HU, any orientation and spacing.
        encoder: in evaluation mode.
        device: where the encoder is; the result is on the CPU.
    """
    config: EncoderConfig = encoder.config
    grid = encoder_grid(volume.grid, config.spacing_mm)
    hu = torch.from_numpy(resample(volume, grid, fill=AIR_HU).array.astype(np.float32))
    batch = normalise_hu(hu, config)[None, None].to(device or torch.device("cpu"))
    output = encoder(batch)
    fine = output.features[-1]
    scales = [
        level
        if level is fine
        else F.interpolate(level, fine.shape[2:], mode="trilinear", align_corners=False)
        for level in output.features
    ]
    features = torch.cat([F.normalize(level, dim=1) for level in scales], dim=1)[0].float().cpu()
    box = volume.grid.box
    return Embedding(
        grid=grid,
        view=(np.asarray(box.min), np.asarray(box.max)),
        positions=output.positions[0].float().cpu(),
        features=features,
        body8=body_cells(hu, POSITION_STRIDE),
        range_mm=torch.tensor(config.range_mm),
    )
