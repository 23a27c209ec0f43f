"""A scan embedded by our encoder: latent positions of every cell and features of every voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from einops import rearrange
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Grid
from medlsam.localize.network.encoder import (
    POSITION_STRIDE,
    SIZE_MULTIPLE,
    Encoder,
    EncoderConfig,
    normalise_hu,
)
from medlsam.localize.network.sampling import cell_centres, sample_lattice, sample_places
from medlsam.localize.network.similarity import FeatureMap, search_window
from medlsam.localize.network.tiling import encode
from medlsam.localize.protocol import Matches
from medlsam.runtime.device import autocast
from medlsam.volume import Image, lps_grid, resample
from medlsam.volume.hounsfield import AIR_HU, BODY_HU

#: A scan gets at least this margin of air, in voxels, so that border cells see what they saw in training.
_MARGIN = 4
#: A place counts as body where the cells around it do by more than this share.
_LEAST_BODY = 0.3


@dataclass(frozen=True, eq=False)
class Embedding:
    """One embedded scan; follows the protocol ``ScanEmbedding``. All places are LPS mm.

    Attributes:
        grid: the encoder's input grid (isotropic, identity direction).
        view: the box of the scan itself, LPS mm as ((3,) low, (3,) high); outside of it nothing was scanned.
        positions: (3, Z/8, Y/8, X/8) latent positions (x, y, z).
        features: three (C, Z/s, Y/s, X/s) maps of unit vectors, coarse to fine, at ``strides``.
        strides: input voxels per cell of the feature maps.
        body8: (Z/8, Y/8, X/8) boolean: cells with body in them.
        range_mm: (3,) r of equation 2, (x, y, z).
        vote_error: (Z/8, Y/8, X/8) log of a cell's usual offset error in units of 100 mm, where the encoder predicts
            it.
        values: (Z, Y, X) normalised HU, where they are kept.
    """

    grid: Grid
    view: tuple[NDArray[np.float64], NDArray[np.float64]]
    positions: Tensor
    features: tuple[Tensor, ...]
    strides: tuple[int, ...]
    body8: Tensor
    range_mm: Tensor
    vote_error: Tensor | None = None
    values: Tensor | None = None

    @property
    def spacing(self) -> float:
        """Input voxel spacing, mm."""
        return self.grid.spacing_xyz[0]

    def to_lps(self, voxels: Tensor) -> Tensor:
        """(..., 3) input voxel indices (x, y, z) to LPS mm."""
        return voxels * self.spacing + torch.tensor(self.grid.origin_xyz, dtype=torch.float32)

    def to_voxels(self, points: ArrayLike | Tensor) -> Tensor:
        """(..., 3) LPS mm to input voxel indices (x, y, z)."""
        tensor = torch.as_tensor(np.asarray(points), dtype=torch.float32)
        return (tensor - torch.tensor(self.grid.origin_xyz, dtype=torch.float32)) / self.spacing

    @cached_property
    def maps(self) -> list[FeatureMap]:
        """The feature scales with their places, coarse to fine."""
        return [
            FeatureMap(level, stride * self.spacing, self.to_lps(torch.full((3,), (stride - 1) / 2)))
            for level, stride in zip(self.features, self.strides, strict=True)
        ]

    @property
    def landmarks(self) -> slice:
        """All landmarks: reading one costs next to nothing."""
        return slice(None)

    @property
    def independent(self) -> bool:
        """True: everything is read off maps that exist already."""
        return True

    def _voters(self) -> Tensor:
        """(Z/8, Y/8, X/8) boolean: the cells that start a search; all of them where there is no body."""
        return self.body8 if self.body8.any() else torch.ones_like(self.body8)

    def starts(self) -> tuple[Tensor, Tensor]:
        """Places (M, 3) LPS mm and latent positions (M, 3) of the cells with body in them."""
        voters = self._voters()
        z, y, x = self.positions.shape[1:]
        cells = self.to_lps(cell_centres((z, y, x), POSITION_STRIDE))
        return cells[voters], self.positions.permute(1, 2, 3, 0)[voters]

    @property
    def start_weights(self) -> Tensor | None:
        """(M,) inverse square of the error that each start predicts for itself, where the encoder predicts it."""
        if self.vote_error is None:
            return None
        return torch.exp(-2 * self.vote_error[self._voters()].clamp(-4.0, 3.0))

    def latents(self, points: ArrayLike | Tensor) -> Tensor:
        """Latent positions (N, 3) at (N, 3) LPS mm."""
        return sample_places(self.positions, self.to_voxels(points), POSITION_STRIDE)

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Latent positions (N, 3) and stacked unit features (N, 3 * C) at (N, 3) LPS mm."""
        voxels = self.to_voxels(points)
        levels = [
            sample_places(level, voxels, stride)
            for level, stride in zip(self.features, self.strides, strict=True)
        ]
        return self.latents(points), torch.cat([F.normalize(level, dim=-1) for level in levels], dim=-1)

    def read_lattice(self, axes: Sequence[NDArray[np.float64]]) -> Tensor:
        """Read the features of ``read`` at all places of a lattice (x, y, z), z fastest: (X * Y * Z, 3 * C).

        One axis after the other, which takes a fifth of the time of as many single places.
        """
        levels = [sampled / length[..., None] for sampled, length in self._along(axes)]
        return rearrange(torch.cat(levels, dim=-1), "z y x c -> (x y z) c")

    def project_lattice(self, axes: Sequence[NDArray[np.float64]], direction: Tensor) -> Tensor:
        """(X * Y * Z,) products of ``read_lattice`` with a direction (3 * C,), in half of its time."""
        parts = direction.split([len(level) for level in self.features])
        found = [
            (sampled @ own).div_(length)
            for (sampled, length), own in zip(self._along(axes), parts, strict=True)
        ]
        return rearrange(torch.stack(found).sum(dim=0), "z y x -> (x y z)")

    def _along(self, axes: Sequence[NDArray[np.float64]]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each scale (Z, Y, X, C) interpolated features, and (Z, Y, X) their lengths."""
        voxels = [(axis - low) / self.spacing for axis, low in zip(axes, self.grid.origin_xyz, strict=True)]
        for level, stride in zip(self.features, self.strides, strict=True):
            sampled = sample_lattice(level, voxels, stride)
            yield sampled, sampled.norm(dim=-1).clamp_(min=1e-12)

    def body_lattice(self, step_mm: float) -> tuple[Tensor, Tensor]:
        """Places (N, 3) LPS mm of a lattice in the body, and features (N, 2 * C) of the two coarser scales there."""
        axes = [np.arange(a + step_mm / 2, b, step_mm) for a, b in zip(*self.view, strict=True)]
        axes = [
            axis if len(axis) else np.array([(a + b) / 2])
            for axis, a, b in zip(axes, *self.view, strict=True)
        ]
        voxels = [(axis - low) / self.spacing for axis, low in zip(axes, self.grid.origin_xyz, strict=True)]
        body = sample_lattice(self.body8[None].float(), voxels, POSITION_STRIDE)[..., 0] > _LEAST_BODY
        z, y, x = (torch.from_numpy(axis).float() for axis in axes[::-1])
        places = torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], dim=-1)
        levels = [sampled[body] / length[body][:, None] for sampled, length in islice(self._along(axes), 2)]
        return places[body], torch.cat(levels, dim=-1)

    def intensities(self, points: ArrayLike | Tensor) -> NDArray[np.float32] | None:
        """(N,) normalised HU at (N, 3) LPS mm; None where they are not kept."""
        if self.values is None:
            return None
        found = sample_places(self.values[None], self.to_voxels(points), 1)
        return np.asarray(found[:, 0].numpy(), dtype=np.float32)

    def refine(
        self, features: Tensor, around: Tensor, window_mm: float, temperature: float = 0.03
    ) -> Matches:
        """Soft arg-max of the mean cosine similarity of three scales in a window (see ``search_window``)."""
        return search_window(self.maps, features, around, window_mm, temperature)


def encoder_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Make the encoder's input grid around a scan: isotropic, axis-aligned, sizes multiples of 16."""
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
def embed(
    volume: Image, encoder: Encoder, device: torch.device | None = None, precision: str = "float32"
) -> Embedding:
    """Run the encoder over a whole scan, the fine levels in tiles.

    Args:
        volume: HU, any orientation and spacing.
        encoder: in evaluation mode.
        device: where the encoder is; the result is on the CPU.
        precision: of the pass: ``auto``, ``float32`` or ``bfloat16``.
    """
    config: EncoderConfig = encoder.config
    grid = encoder_grid(volume.grid, config.spacing_mm)
    hu = torch.from_numpy(resample(volume, grid, fill=AIR_HU).array)
    # Half precision: the finest map of a whole body is a gigabyte otherwise.
    values = normalise_hu(hu, config)
    with autocast(device or torch.device("cpu"), precision):
        output = encode(encoder, values[None, None], device, dtype=torch.float16)
    box = volume.grid.box
    return Embedding(
        grid=grid,
        view=(np.asarray(box.min), np.asarray(box.max)),
        positions=output.positions[0],
        features=tuple(level[0] for level in output.features),
        strides=config.feature_strides,
        body8=body_cells(hu, POSITION_STRIDE),
        range_mm=torch.tensor(config.range_mm),
        vote_error=None if output.vote_error is None else output.vote_error[0, 0],
        values=values.half(),
    )
