"""Where in a scan is a point whose latent position is known? The coarse answer, by relative distance regression.

The paper starts from ten random places; a dense encoder can start from every cell of the body.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medlsam.localize.losses import predicted_offset
from medlsam.localize.seen import Seen

#: The authors' code starts within ten voxels of 3 mm of the scan's middle.
START_JITTER_MM = 30.0


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
    embedding: Seen,
    latents: Tensor,
    near_mm: tuple[float, ...] = (80.0, 60.0),
    budget: int = 3_000_000,
) -> tuple[Tensor, Tensor]:
    """Every body cell votes c + r * tanh(p_s - p_c); take the votes' robust centre.

    Offsets are learnt best over short distances. So the first centre weights cells that say of themselves that they
    are near (a short predicted offset), and the repeats weight cells that are near the centre found. Cells that expect
    to be wrong say less.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        near_mm: Gaussian radii: of the predicted offset first, then of the distance in each repeat.
        budget: votes held at a time, which bounds memory.

    Returns:
        (N, 3) LPS mm and (N,) mm: weighted mean distance of the votes from the answer.
    """
    cells, cell_latents = embedding.starts()
    trust = embedding.start_weights
    trust = torch.ones(len(cells)) if trust is None else trust
    answers, spreads = [], []
    for part in latents.split(max(1, budget // len(cells))):
        offsets = predicted_offset(cell_latents[None], part[:, None], embedding.range_mm)
        votes = cells[None] + offsets
        distance = offsets.square().sum(dim=-1)
        # A floor keeps the weights from vanishing where no cell is near; it follows the nearest cell's claim.
        weight = trust * torch.exp((distance.amin(dim=1, keepdim=True) - distance) / (2 * near_mm[0] ** 2))
        answer, spread = _weighted_centre(votes, weight)
        for radius in near_mm:
            distance = (cells[None] - answer[:, None]).square().sum(dim=-1)
            weight = trust * torch.exp((distance.amin(dim=1, keepdim=True) - distance) / (2 * radius**2))
            answer, spread = _weighted_centre(votes, weight, answer)
        answers.append(answer)
        spreads.append(spread)
    return torch.cat(answers), torch.cat(spreads)


def random_starts(
    embedding: Seen, latents: Tensor, generator: torch.Generator, starts: int = 10
) -> tuple[Tensor, Tensor]:
    """The coarse inference of the paper (section 2.2), as its authors' code does it.

    Ten random places near the scan's middle; their latent positions are averaged, and the offset from the mean place
    is taken once.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        generator: of the places, which all structures share.
        starts: how many.

    Returns:
        (N, 3) LPS mm and (N,) mm: mean distance of the single starts' answers from the answer.
    """
    low, high = (torch.as_tensor(side, dtype=torch.float32) for side in embedding.view)
    jitter = (2 * torch.rand(starts, 3, generator=generator) - 1) * START_JITTER_MM
    places = (low + high) / 2 + jitter
    own = embedding.latents(places)
    answer = places.mean(dim=0) + predicted_offset(own.mean(dim=0), latents, embedding.range_mm)
    single = places[None] + predicted_offset(own[None], latents[:, None], embedding.range_mm)
    return answer, (single - answer[:, None]).norm(dim=-1).mean(dim=1)
