"""Multi-scale similarity (MSS): the place in a window where a feature matches best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from medlsam.localize.protocol import Matches

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

    def block(self, z: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """(N, Kz * Ky * Kx, C) float32 features of N blocks of cells; the border's where they lie outside.

        Args:
            z: (N, Kz) cells along z of each block.
            y: (N, Ky) along y.
            x: (N, Kx) along x.
        """
        sizes = self.values.shape[1:]
        z, y, x = (index.clamp(0, size - 1) for index, size in zip((z, y, x), sizes, strict=True))
        plane = (z * sizes[1])[:, :, None] + y[:, None, :]
        cells = ((plane * sizes[2])[..., None] + x[:, None, None, :]).flatten(1)
        # index_select copies whole rows, in an eighth of the time of self.rows[cells].
        return self.rows.index_select(0, cells.flatten()).float().view(*cells.shape, len(self.values))


def _interpolated(level: FeatureMap, features: Tensor, places: Sequence[Tensor], window_mm: float) -> Tensor:
    """(N, S, Kz, Ky, Kx) similarity of features (N, S, C) on N lattices, trilinear between the level's cells.

    Args:
        level: the map.
        features: to compare with.
        places: (N, K) LPS mm of the lattices along z, y and x.
        window_mm: half their width.
    """
    # From the cell before the first place to the one after the last.
    count = math.ceil(2 * window_mm / level.step_mm) + 2
    cells, shares = [], []
    for axis, own in enumerate(places):
        where = (own - level.origin[2 - axis]) / level.step_mm
        first = where.amin(dim=1).floor()
        steps = torch.arange(count)
        shares.append((1 - (where[:, :, None] - first[:, None, None] - steps).abs()).clamp(min=0))
        cells.append(first.long()[:, None] + steps)
    score = features @ level.block(*cells).transpose(1, 2)
    # One axis after the other: three small products in place of eight neighbours for every place.
    z, y, x = shares
    along_x = score.unflatten(2, (-1, count)).flatten(1, 2) @ x.transpose(1, 2)
    along_z = z[:, None] @ along_x.unflatten(1, (features.shape[1], count, -1)).flatten(3)
    return torch.einsum("nyk,nszkx->nszyx", y, along_z.unflatten(3, (count, -1)))


def search_window(
    maps: list[FeatureMap],
    features: Tensor,
    around: Tensor,
    window_mm: float,
    temperature: float,
    chunk: int = 256,
) -> Matches:
    """Soft arg-max of the mean cosine similarity of the scales in a window around a place.

    The cells of the finest map that suits the window are the candidates; coarser maps are interpolated to them.
    Features that are looked for around the same place (one landmark as several templates show it) share a window, so
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
    steps = torch.arange(2 * reach + 1) - reach
    points, similarity, spread = [], [], []
    for start in range(0, len(features), chunk):
        rows = slice(start, start + chunk)
        middle = ((around[rows] - fine.origin) / fine.step_mm).round().long().flip(-1)
        middle = torch.minimum(middle.clamp(min=0), fine.shape - 1)
        cells = [own[:, None] + steps for own in middle.unbind(-1)]
        places = [own.float() * fine.step_mm + fine.origin[2 - axis] for axis, own in enumerate(cells)]
        score = parts[rows, :, used[-1]] @ fine.block(*cells).transpose(1, 2)
        score = score.unflatten(2, (len(steps),) * 3)
        for i in used[:-1]:
            score += _interpolated(maps[i], parts[rows, :, i], places, reach * fine.step_mm)
        score /= len(used)
        inside = [(own >= 0) & (own < size) for own, size in zip(cells, fine.values.shape[1:], strict=True)]
        if not all(bool(own.all()) for own in inside):
            z, y, x = inside
            outside = ~(z[:, :, None, None] & y[:, None, :, None] & x[:, None, None, :])
            score.masked_fill_(outside[:, None], -1.0)
        weight = torch.softmax(score.flatten(2) / temperature, dim=-1).view_as(score)
        answer = _mean_place(weight, places)
        points.append(answer)
        similarity.append(score.flatten(2).amax(dim=-1))
        # The squared distance is a sum over the axes, too.
        x, y, z = ((places[2 - axis][:, None] - answer[..., axis, None]).square_() for axis in range(3))
        away = (z[..., None, None] + y[..., None, :, None] + x[..., None, None, :]).sqrt_()
        spread.append(away.mul_(weight).flatten(2).sum(dim=-1))
    return Matches(torch.cat(points), torch.cat(similarity), torch.cat(spread))


def _mean_place(weight: Tensor, places: Sequence[Tensor]) -> Tensor:
    """(N, S, 3) LPS mm: mean places of N lattices, under weights (N, S, Kz, Ky, Kx) that sum to one.

    Args:
        weight: see above.
        places: (N, K) LPS mm of the lattices along z, y and x.
    """
    in_plane = weight.sum(dim=2)
    marginals = (in_plane.sum(dim=2), in_plane.sum(dim=3), weight.sum(dim=(3, 4)))
    along = [
        (marginal @ own[..., None])[..., 0] for marginal, own in zip(marginals, places[::-1], strict=True)
    ]
    return torch.stack(along, dim=-1)
