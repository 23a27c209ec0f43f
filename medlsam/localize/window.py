"""Multi-scale similarity in a window: where among the cells around a place does a feature fit best?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from medlsam.localize.seen import Matches

#: A window is searched on the finest map of which it spans no more than this many cells to a side.
MOST_CELLS = 12


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One scale of a dense encoder's features.

    Attributes:
        values: (C, Z, Y, X) unit vectors, any float type.
        step_mm: size of a cell.
        origin: (3,) LPS mm of the first cell's centre.
    """

    values: Tensor
    step_mm: float
    origin: Tensor

    @cached_property
    def rows(self) -> Tensor:
        """(cells, C), z slowest."""
        return self.values.flatten(1).T.contiguous()

    @property
    def shape(self) -> Tensor:
        """(3,) cells along (z, y, x)."""
        return torch.tensor(self.values.shape[1:])

    def cells(self, index: Tensor) -> Tensor:
        """(..., C) float32 features of cells (..., 3) given as (z, y, x); the border's where they lie outside."""
        shape = self.shape
        index = torch.minimum(index.clamp(min=0), shape - 1)
        return self.rows[(index[..., 0] * shape[1] + index[..., 1]) * shape[2] + index[..., 2]].float()


def _cube(count: int) -> Tensor:
    """(count^3, 3) indices (z, y, x)."""
    axis = torch.arange(count)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)


def _interpolated(level: FeatureMap, features: Tensor, places: Tensor, window_mm: float) -> Tensor:
    """(N, S, K) similarity of features (N, S, C) at places (N, K, 3), trilinear between the level's cells."""
    where = ((places - level.origin) / level.step_mm).flip(-1)
    first = where.amin(dim=1).floor().long()
    count = math.ceil(2 * window_mm / level.step_mm) + 3
    score = features @ level.cells(first[:, None] + _cube(count)).transpose(1, 2)
    relative = (where - first[:, None]).flip(-1) * (2 / (count - 1)) - 1
    sampled = F.grid_sample(
        score.unflatten(2, (count, count, count)), relative[:, :, None, None], align_corners=True
    )
    return sampled[..., 0, 0]


def search_window(
    maps: list[FeatureMap],
    features: Tensor,
    around: Tensor,
    window_mm: float,
    temperature: float,
    chunk: int = 64,
) -> Matches:
    """Soft arg-max of the mean cosine similarity of the scales in a window around a place.

    The cells of the finest map that suits the window are the candidates; coarser maps are interpolated to them.
    Features that are looked for around the same place (one landmark as several supports saw it) share a window, so
    the maps are read once for all of them.

    Args:
        maps: coarse to fine.
        features: (N, S, L * C) stacked unit features of the L scales: S of them for each of N places.
        around: (N, 3) LPS mm, the windows' centres.
        window_mm: half width of the window along each axis.
        temperature: of the soft arg-max, on the mean cosine.
        chunk: places at a time, which bounds memory.

    Returns:
        Matches of (N, S): points are (N, S, 3).
    """
    used = [i for i, level in enumerate(maps) if level.step_mm * MOST_CELLS >= window_mm] or [0]
    fine = maps[used[-1]]
    parts = features.unflatten(-1, (len(maps), -1))
    reach = max(1, round(window_mm / fine.step_mm))
    offsets = _cube(2 * reach + 1) - reach
    points, similarity, spread = [], [], []
    for start in range(0, len(features), chunk):
        rows = slice(start, start + chunk)
        middle = ((around[rows] - fine.origin) / fine.step_mm).round().long().flip(-1)
        cells = torch.minimum(middle.clamp(min=0), fine.shape - 1)[:, None] + offsets
        inside = ((cells >= 0) & (cells < fine.shape)).all(dim=-1)
        places = cells.flip(-1).float() * fine.step_mm + fine.origin
        score = parts[rows, :, used[-1]] @ fine.cells(cells).transpose(1, 2)
        for i in used[:-1]:
            score = score + _interpolated(maps[i], parts[rows, :, i], places, reach * fine.step_mm)
        score = (score / len(used)).masked_fill(~inside[:, None], -1.0)
        weight = torch.softmax(score / temperature, dim=-1)
        answer = weight @ places
        points.append(answer)
        similarity.append(score.amax(dim=-1))
        x, y, z = (places[:, None] - answer[:, :, None]).square_().unbind(-1)
        spread.append(((x + y + z).sqrt_() * weight).sum(dim=-1))
    return Matches(torch.cat(points), torch.cat(similarity), torch.cat(spread))
