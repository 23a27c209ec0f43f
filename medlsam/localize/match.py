"""Where in a scan is a point whose latent position and features are known? Coarse, then fine.

Coarse is the paper's relative distance regression with every body cell as a start instead of ten random
ones; fine is its multi-scale similarity in a window around the coarse answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medlsam.localize.embedding import FEATURE_STRIDE, Embedding
from medlsam.localize.encoder import POSITION_STRIDE
from medlsam.localize.losses import predicted_offset


@dataclass(frozen=True)
class Matches:
    """Answers of a refinement.

    Attributes:
        points: (N, S, 3) LPS mm.
        similarity: (N, S) highest mean cosine of the three scales in the window.
        spread_mm: (N, S) mean distance of the similarity's peak from the answer, weighted as the answer is.
    """

    points: Tensor
    similarity: Tensor
    spread_mm: Tensor


def _body_cells(embedding: Embedding) -> tuple[Tensor, Tensor]:
    """Places (M, 3) LPS mm and latent positions (M, 3) of the cells with body in them (all where there is none)."""
    body = embedding.body8
    if not body.any():
        body = torch.ones_like(body)
    return embedding.cells(POSITION_STRIDE)[body], embedding.positions.permute(1, 2, 3, 0)[body]


def _weighted_centre(
    votes: Tensor, weight: Tensor, start: Tensor | None = None, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """Weighted geometric median (N, 3) of votes (N, M, 3), and the mean distance (N,) of the votes from it."""
    weight = weight / weight.sum(dim=1, keepdim=True)
    answer = torch.einsum("nm,nmc->nc", weight, votes) if start is None else start
    distance = torch.zeros_like(weight)
    for _ in range(rounds):
        distance = (votes - answer[:, None]).norm(dim=-1)
        pull = weight / (distance + 5.0)
        answer = torch.einsum("nm,nmc->nc", pull / pull.sum(dim=1, keepdim=True), votes)
    return answer, (distance * weight).sum(dim=1)


def coarse_consensus(
    embedding: Embedding,
    latents: Tensor,
    near_mm: tuple[float, ...] = (80.0, 60.0),
    budget: int = 3_000_000,
) -> tuple[Tensor, Tensor]:
    """Every body cell votes c + r * tanh(p_s - p_c); take the votes' robust centre.

    Offsets are learnt best over short distances. So the first centre weights cells that say of themselves that they
    are near (a short predicted offset), and the repeats weight cells that are near the centre found.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        near_mm: Gaussian radii: of the predicted offset first, then of the distance in each repeat.
        budget: votes held at a time, which bounds memory.

    Returns:
        (N, 3) LPS mm and (N,) mm: weighted mean distance of the votes from the answer.
    """
    cells, cell_latents = _body_cells(embedding)
    answers, spreads = [], []
    for part in latents.split(max(1, budget // len(cells))):
        offsets = predicted_offset(cell_latents[None], part[:, None], embedding.range_mm)
        votes = cells[None] + offsets
        distance = offsets.square().sum(dim=-1)
        # A floor keeps the weights from vanishing where no cell is near; it follows the nearest cell's claim.
        weight = torch.exp((distance.amin(dim=1, keepdim=True) - distance) / (2 * near_mm[0] ** 2))
        answer, spread = _weighted_centre(votes, weight)
        for radius in near_mm:
            distance = (cells[None] - answer[:, None]).square().sum(dim=-1)
            weight = torch.exp((distance.amin(dim=1, keepdim=True) - distance) / (2 * radius**2))
            answer, spread = _weighted_centre(votes, weight, answer)
        answers.append(answer)
        spreads.append(spread)
    return torch.cat(answers), torch.cat(spreads)


def random_starts(
    embedding: Embedding, latents: Tensor, generator: torch.Generator, starts: int = 10
) -> tuple[Tensor, Tensor]:
    """The paper's coarse inference: the mean of the answers from random starts in the body (section 2.2).

    Returns:
        (N, 3) LPS mm and (N,) mm: mean distance of the single answers from their mean.
    """
    cells, latent_cells = _body_cells(embedding)
    chosen = torch.randint(len(cells), (starts,), generator=generator)
    offsets = predicted_offset(latent_cells[chosen][None], latents[:, None], embedding.range_mm)
    answers = cells[chosen][None] + offsets
    mean = answers.mean(dim=1)
    return mean, (answers - mean[:, None]).norm(dim=-1).mean(dim=1)


def refine(
    embedding: Embedding,
    features: Tensor,
    around: Tensor,
    window_mm: float,
    temperature: float = 0.03,
    chunk: int = 64,
) -> Matches:
    """Soft arg-max of the summed cosine similarity of three scales in a window around a place.

    Features that are looked for around the same place (one landmark as several supports saw it) share a window, so
    the map is read once for all of them.

    Args:
        embedding: the scan.
        features: (N, S, 3 * C) stacked unit features: S of them for each of N places.
        around: (N, 3) LPS mm, the windows' centres.
        window_mm: half width of the window along each axis.
        temperature: of the soft arg-max, on the mean cosine.
        chunk: places at a time, which bounds memory.

    Returns:
        Matches of (N, S): points are (N, S, 3).
    """
    shape = torch.tensor(embedding.features.shape[1:])
    step = embedding.spacing * FEATURE_STRIDE
    reach = max(1, round(window_mm / step))
    axis = torch.arange(-reach, reach + 1)
    offsets = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    rows = embedding.feature_rows
    origin = embedding.to_lps(torch.full((3,), (FEATURE_STRIDE - 1) / 2))
    lowest = torch.zeros(3, dtype=torch.long)
    points, similarity, spread = [], [], []
    for start in range(0, len(features), chunk):
        index = ((around[start : start + chunk] - origin) / step).round().long().flip(-1)
        cells = index.clamp(lowest, shape - 1)[:, None] + offsets
        inside = ((cells >= 0) & (cells < shape)).all(dim=-1)
        clamped = cells.clamp(lowest, shape - 1)
        linear = (clamped[..., 0] * shape[1] + clamped[..., 1]) * shape[2] + clamped[..., 2]
        score = features[start : start + chunk] @ rows[linear].transpose(1, 2) / 3
        score = score.masked_fill(~inside[:, None], -1.0)
        weight = torch.softmax(score / temperature, dim=-1)
        places = cells.flip(-1).float() * step + origin
        answer = weight @ places
        points.append(answer)
        similarity.append(score.amax(dim=-1))
        distance = (places[:, None] - answer[:, :, None]).norm(dim=-1)
        spread.append((distance * weight).sum(dim=-1))
    return Matches(torch.cat(points), torch.cat(similarity), torch.cat(spread))
