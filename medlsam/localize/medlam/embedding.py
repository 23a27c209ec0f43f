"""A scan embedded by the paper's network on demand, a cube at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Grid
from medlsam.localize.medlam.kernels import CELLS, KERNEL, cut_kernels, fit_kernels
from medlsam.localize.medlam.network import PATCH, RANGE_MM, SPACING_MM, PublishedNetwork, normalise
from medlsam.localize.protocol import Matches
from medlsam.localize.templates.landmarks import EXTREMES
from medlsam.volume import Image, lps_grid, resample
from medlsam.volume.hounsfield import AIR_HU

#: Cubes that pass through the network together; each takes about half a gigabyte with the decoder.
BATCH = 2
#: Coarse searches start from cubes that overlap by half; in a small scan twice as densely along each axis.
START_STEPS = (PATCH // 2, PATCH // 4)
FEWEST_STARTS = 32
#: A start lies in something denser than -900 HU (lung counts, air does not) on average over a block of 8 voxels.
_BLOCK = 8
_LEAST = float(normalise(np.array(-900.0)))


@dataclass(frozen=True, eq=False)
class PatchedScan:
    """One scan, embedded cube by cube where a search reads it; follows ``ScanEmbedding``. All places are LPS mm.

    Attributes:
        grid: the network's grid: 3 mm, identity direction.
        view: the box of the scan, LPS mm: (3,) low and (3,) high.
        values: (Z + 64, Y + 64, X + 64) normalised HU, half a cube of air around the scan; axes point to superior,
            *anterior* and left, as the network was trained.
        network: in evaluation mode.
        device: where the network is; results are on the CPU.
        batch: cubes at a time, which bounds memory.
    """

    grid: Grid
    view: tuple[NDArray[np.float64], NDArray[np.float64]]
    values: Tensor
    network: PublishedNetwork
    device: torch.device
    batch: int = BATCH

    @property
    def range_mm(self) -> Tensor:
        """(3,) r of the paper's equation 2, (x, y, z)."""
        return torch.tensor(RANGE_MM[::-1])

    @property
    def start_weights(self) -> Tensor | None:
        """None: the network does not predict the error of its positions."""
        return None

    @property
    def landmarks(self) -> slice:
        """The six extreme points, as published: every other place would cost a cube and 100 kB in the template file."""
        return EXTREMES

    @property
    def independent(self) -> bool:
        """False: places near each other share a cube, and the features of a place depend on its cube."""
        return False

    def starts(self) -> tuple[Tensor, Tensor]:
        """Places (M, 3) LPS mm in the body and latent positions (M, 3) there, the same for all structures."""
        return self._starts

    def latents(self, points: ArrayLike | Tensor) -> Tensor:
        """Latent positions (N, 3) from cubes around (N, 3) places, moved to the nearest voxel.

        No decoder runs: a cube takes a third of the memory.
        """
        with torch.inference_mode():
            found = [
                self.network.positions(self._cubes(part))
                for part in self._index(points).split(3 * self.batch)
            ]
        return _to_lps_axes(torch.cat(found))

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        """Latent positions (N, 3) and kernels (N, CELLS * C) from cubes around (N, 3) places.

        The place is moved to the nearest voxel, as in the original (up to 1.5 mm along each axis).
        """
        # One cube serves all places at the same voxel.
        index, same = torch.unique(self._index(points), dim=0, return_inverse=True)
        latents = torch.empty(len(index), 3)
        kernels = torch.empty(len(index), CELLS * self.network.channels)
        with torch.inference_mode():
            for start in range(0, len(index), self.batch):
                rows = slice(start, start + self.batch)
                positions, maps = self.network(self._cubes(index[rows]))
                latents[rows] = _to_lps_axes(positions)
                kernels[rows] = cut_kernels(maps).cpu()
        return latents[same], kernels[same]

    def read_lattice(self, axes: Sequence[NDArray[np.float64]]) -> Tensor:
        """Kernels at all places of a lattice (x, y, z), z fastest: a cube for each of them."""
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.read(places)[1]

    def project_lattice(self, axes: Sequence[NDArray[np.float64]], direction: Tensor) -> Tensor:
        """Products of ``read_lattice`` with a direction."""
        return self.read_lattice(axes) @ direction

    def body_lattice(self, step_mm: float) -> None:
        """None: every place would cost a cube."""

    def intensities(self, points: ArrayLike | Tensor) -> NDArray[np.float32] | None:
        """(N,) normalised HU at the voxels nearest to (N, 3) LPS mm."""
        z, y, x = (self._index(points) + PATCH // 2).unbind(-1)
        return np.asarray(self.values[z, y, x].numpy(), dtype=np.float32)

    def refine(
        self, features: Tensor, around: Tensor, window_mm: float, temperature: float = 0.03
    ) -> Matches:
        """Find where kernels fit best in a window around each place.

        The match is the voxel of the highest mean cosine of the three scales, as in the original; the temperature
        only decides how far the voxels beside it move the match within a voxel. The original's window fills a cube,
        which then has the place in its middle; places whose windows are small share cubes.

        Args:
            features: (N, S, CELLS * C) kernels, S of them for each of N places.
            around: (N, 3) LPS mm, the windows' centres; moved into the scan where they lie outside.
            window_mm: half width of the window along each axis; no more than the cube's 96 mm is searched.
            temperature: of the soft arg-max beside the peak, and of the spread.
        """
        index = self._index(around)
        reach = min(max(int(window_mm / SPACING_MM), 1), PATCH // 2)
        middles, which = _shared_cubes(index, max(PATCH // 2 - reach - KERNEL, 0))
        points = torch.empty(*features.shape[:2], 3)
        similarity, spread = torch.empty(features.shape[:2]), torch.empty(features.shape[:2])
        with torch.inference_mode():
            for start in range(0, len(middles), self.batch):
                maps = self.network.features(self._cubes(middles[start : start + self.batch]))
                for cube, *levels in zip(range(start, len(middles)), *maps, strict=False):
                    for n in torch.nonzero(which == cube)[:, 0].tolist():
                        # The cube's voxel 32 is its middle.
                        voxel = index[n] - middles[cube] + PATCH // 2
                        score, voxels = fit_kernels(
                            levels, features[n].to(self.device), voxel.tolist(), reach
                        )
                        away = (voxels - voxel.to(self.device)).flatten(0, 2).float()
                        peak, similarity[n], spread[n] = _peaks(score.flatten(1), away, reach, temperature)
                        points[n] = self._to_lps(index[n] + peak.cpu())
        return Matches(points, similarity, spread * SPACING_MM)

    @cached_property
    def _starts(self) -> tuple[Tensor, Tensor]:
        """Cubes over the scan that overlap by half, those with body in their middle."""
        for step in START_STEPS:
            index = _lattice(self.grid.shape_zyx, step)
            inside = torch.tensor([self._in_body(place) for place in index.tolist()])
            if int(inside.sum()) >= FEWEST_STARTS:
                break
        chosen = index[inside] if inside.any() else index
        places = self._to_lps(chosen)
        return places, self.latents(places)

    def _in_body(self, index: list[int]) -> bool:
        """Whether the block around a voxel (z, y, x) is body rather than air."""
        around = tuple(slice(i + (PATCH - _BLOCK) // 2, i + (PATCH + _BLOCK) // 2) for i in index)
        return float(self.values[around].mean()) > _LEAST

    def _cubes(self, index: Tensor) -> Tensor:
        """(B, 1, 64, 64, 64) on the network's device: cubes whose voxel 32 is at ``index`` (B, 3), (z, y, x)."""
        cubes = [self.values[z : z + PATCH, y : y + PATCH, x : x + PATCH] for z, y, x in index.tolist()]
        return torch.stack(cubes)[:, None].to(self.device)

    def _index(self, points: ArrayLike | Tensor) -> Tensor:
        """(N, 3) nearest voxels (z, y, x) of the scan on the network's axes to (N, 3) LPS mm."""
        places = torch.as_tensor(np.asarray(points), dtype=torch.float64).reshape(-1, 3)
        voxels = ((places - torch.tensor(self.grid.origin_xyz, dtype=torch.float64)) / SPACING_MM).round()
        last = torch.tensor(self.grid.shape_zyx) - 1
        index = torch.minimum(voxels.flip(-1).long().clamp(min=0), last)
        index[:, 1] = last[1] - index[:, 1]
        return index

    def _to_lps(self, index: Tensor) -> Tensor:
        """(..., 3) LPS mm, float32, of voxels (z, y, x) on the network's axes."""
        z, y, x = index.double().unbind(-1)
        voxels = torch.stack([x, self.grid.shape_zyx[1] - 1 - y, z], dim=-1)
        return (voxels * SPACING_MM + torch.tensor(self.grid.origin_xyz, dtype=torch.float64)).float()


def see(
    volume: Image, network: PublishedNetwork, device: torch.device | None = None, batch: int = BATCH
) -> PatchedScan:
    """Prepare a scan for the network as the original does; nothing runs yet.

    The original samples cubic splines and does not smooth; here it is ``resample``, as for the other networks.

    Args:
        volume: HU, any orientation and spacing.
        network: in evaluation mode.
        device: where the network is.
        batch: cubes at a time.
    """
    grid = lps_grid(volume.grid, (SPACING_MM,) * 3)
    hu = resample(volume, grid, fill=AIR_HU).array[:, ::-1]
    box = volume.grid.box
    return PatchedScan(
        grid=grid,
        view=(np.asarray(box.min), np.asarray(box.max)),
        values=torch.from_numpy(np.pad(normalise(hu), PATCH // 2)),
        network=network,
        device=device or torch.device("cpu"),
        batch=batch,
    )


def _lattice(shape_zyx: tuple[int, int, int], step: int) -> Tensor:
    """(M, 3) voxels (z, y, x) every ``step`` along each axis, in the middle of the scan."""
    axes = [range((n - 1) % step // 2, n, step) for n in shape_zyx]
    return torch.tensor(list(product(*axes)))


def _to_lps_axes(positions: Tensor) -> Tensor:
    """Latent positions (B, 3) from (superior, anterior, left) to LPS (x, y, z), float32 on the CPU."""
    z, anterior, x = positions.float().cpu().unbind(-1)
    return torch.stack([x, -anterior, z], dim=-1)


def _shared_cubes(index: Tensor, free: int) -> tuple[Tensor, Tensor]:
    """The middles (K, 3) of as few cubes as will do for voxels (N, 3), and which cube (N,) each of them is in.

    Args:
        index: voxels (z, y, x).
        free: how far along each axis a voxel may lie from its cube's middle.
    """
    _, which = torch.unique(index // (2 * free + 1), dim=0, return_inverse=True)
    empty = torch.zeros(int(which.max()) + 1 if len(which) else 0, 3, dtype=index.dtype)
    rows = which[:, None].expand(-1, 3)
    low = empty.scatter_reduce(0, rows, index, "amin", include_self=False)
    high = empty.scatter_reduce(0, rows, index, "amax", include_self=False)
    return (low + high) // 2, which


def _peaks(scores: Tensor, away: Tensor, reach: int, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets (S, 3) of the highest score, its height (S,), and the mean distance (S,) of all from it, in voxels.

    Args:
        scores: (S, K) of K voxels.
        away: (K, 3) where these lie, from the window's middle.
        reach: farther along any axis nothing is looked at.
        temperature: of the weights.
    """
    scores = scores.masked_fill(away.abs().amax(dim=-1) > reach, -torch.inf)
    height, best = scores.max(dim=1)
    beside = (away - away[best][:, None]).abs().amax(dim=-1) <= 1
    weight = torch.softmax(scores.masked_fill(~beside, -torch.inf) / temperature, dim=1)
    answer = weight @ away
    spread = torch.softmax(scores / temperature, dim=1) * (away - answer[:, None]).norm(dim=-1)
    return answer, height, spread.sum(dim=1)
