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


def coarse_consensus(
    embedding: Embedding, latents: Tensor, near_mm: tuple[float, ...] = (150.0, 80.0, 60.0)
) -> tuple[Tensor, Tensor]:
    """Every body cell votes c + r * tanh(p_s - p_c); take the votes' robust centre.

    Repeated with votes of cells near the current answer weighted more, since offsets are learnt best over
    short distances.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        near_mm: Gaussian radii of the repeats.

    Returns:
        (N, 3) LPS mm and (N,) mm: mean absolute deviation of the last weighted votes.
    """
    body = embedding.body8
    if not body.any():
        body = torch.ones_like(body)
    cells = embedding.cells(POSITION_STRIDE)[body]
    latent_cells = embedding.positions.permute(1, 2, 3, 0)[body]
    votes = cells[None] + predicted_offset(latent_cells[None], latents[:, None], embedding.range_mm)
    answer = votes.median(dim=1).values
    spread = torch.zeros(len(latents))
    for radius in near_mm:
        distance = ((cells[None] - answer[:, None]) ** 2).sum(dim=-1)
        # Far cells keep a small vote, so that an answer outside the body is still an answer.
        near = torch.exp(-distance / (2 * radius**2)) + 1e-4
        residual = (votes - answer[:, None]).norm(dim=-1)
        weight = near / (residual + 10.0)
        weight = weight / weight.sum(dim=1, keepdim=True)
        answer = (votes * weight[..., None]).sum(dim=1)
        spread = ((votes - answer[:, None]).norm(dim=-1) * weight).sum(dim=1)
    return answer, spread


def random_starts(
    embedding: Embedding, latents: Tensor, generator: torch.Generator, starts: int = 10
) -> tuple[Tensor, Tensor]:
    """The paper's coarse inference: the mean of the answers from random starts in the body (section 2.2).

    Returns:
        (N, 3) LPS mm and (N,) mm: mean distance of the single answers from their mean.
    """
    body = embedding.body8
    if not body.any():
        body = torch.ones_like(body)
    cells = embedding.cells(POSITION_STRIDE)[body]
    latent_cells = embedding.positions.permute(1, 2, 3, 0)[body]
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
