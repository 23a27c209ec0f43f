"""Coarse localization by relative distance regression (RDR): find the places whose latent positions are known.

Every start s with latent position p_s votes for a landmark c at s + r * tanh(p_s - p_c), equation 2 of the paper. The
paper starts from ten random places; a dense encoder starts from every cell of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medlsam.localize.network.encoder import predicted_offset
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.options import MEDIAN_SOFTENING_MM, START_JITTER_MM, VOTE_BUDGET, VOTE_RADII_MM

#: Votes as three (N, M) tensors, x, y and z: one of (N, M, 3) takes three times as long for the same sums.
_Votes = tuple[Tensor, ...]


def _square_distance(places: _Votes, centre: Tensor) -> Tensor:
    """(N, M) squared distance of places from (N, 3)."""
    x, y, z = ((p - c[:, None]).square_() for p, c in zip(places, centre.unbind(-1), strict=True))
    return x.add_(y).add_(z)


def _mean(votes: _Votes, weight: Tensor) -> Tensor:
    """(N, 3) weighted mean of votes; weights (N, M) need not sum to one."""
    total = weight.sum(dim=1)
    return torch.stack([(v * weight).sum(dim=1) / total for v in votes], dim=-1)


def _weighted_centre(
    votes: _Votes, weight: Tensor, start: Tensor | None = None, rounds: int = 3
) -> tuple[Tensor, Tensor]:
    """Weighted geometric median (N, 3) of votes, and the mean distance (N,) of the votes from it."""
    answer = _mean(votes, weight) if start is None else start
    distance = torch.zeros_like(weight)
    for _ in range(rounds):
        distance = _square_distance(votes, answer).sqrt_()
        answer = _mean(votes, weight / (distance + MEDIAN_SOFTENING_MM))
    return answer, (distance * weight).sum(dim=1) / weight.sum(dim=1)


def coarse_consensus(
    embedding: ScanEmbedding, latents: Tensor, budget: int = VOTE_BUDGET
) -> tuple[Tensor, Tensor]:
    """Let every body cell vote for every landmark and take the robust centre of the votes.

    The first centre weights cells by the length of their own predicted offset, the repeats by their distance from the
    centre found (``VOTE_RADII_MM``). Cells that expect a large error count less.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        budget: votes held at a time.

    Returns:
        (N, 3) LPS mm, and (N,) mm: weighted mean distance of the votes from these places.
    """
    cells, cell_latents = embedding.starts()
    trust = embedding.start_weights
    trust = torch.ones(len(cells)) if trust is None else trust
    places = tuple(cells.T.contiguous()[:, None])
    answers, spreads = [], []
    for part in latents.split(max(1, budget // len(cells))):
        offsets = tuple(
            predicted_offset(own[None], wanted[:, None], range_mm)
            for own, wanted, range_mm in zip(cell_latents.T, part.T, embedding.range_mm, strict=True)
        )
        votes = tuple(place + offset for place, offset in zip(places, offsets, strict=True))
        distance = sum((offset.square() for offset in offsets[1:]), offsets[0].square())
        answer, spread = _weighted_centre(votes, _near(distance, VOTE_RADII_MM[0], trust))
        for radius in VOTE_RADII_MM:
            distance = _square_distance(places, answer)
            answer, spread = _weighted_centre(votes, _near(distance, radius, trust), answer)
        answers.append(answer)
        spreads.append(spread)
    return torch.cat(answers), torch.cat(spreads)


def _near(square_distance: Tensor, radius_mm: float, trust: Tensor) -> Tensor:
    """(N, M) Gaussian weights times trust (M,).

    A floor keeps them from vanishing where no cell is near; it follows the nearest cell's claim.
    """
    nearest = square_distance.amin(dim=1, keepdim=True)
    return torch.exp_((nearest - square_distance).div_(2 * radius_mm**2)).mul_(trust)


@dataclass(frozen=True, eq=False)
class Starts:
    """The random places from which the paper's search starts.

    Attributes:
        places: (M, 3) LPS mm.
        latents: (M, 3) latent positions there.
        range_mm: (3,) r of equation 2.
    """

    places: Tensor
    latents: Tensor
    range_mm: Tensor

    def offset_to(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Locate latent positions as the paper does (section 2.2, after its authors' code).

        The offset is predicted once, from the mean of the starts' places and latent positions.

        Args:
            latents: (N, 3) latent positions looked for.

        Returns:
            (N, 3) LPS mm, and (N,) mm: mean distance of the single starts' predictions from it.
        """
        mean = self.latents.mean(dim=0)
        answer = self.places.mean(dim=0) + predicted_offset(mean, latents, self.range_mm)
        single = self.places[None] + predicted_offset(self.latents[None], latents[:, None], self.range_mm)
        return answer, (single - answer[:, None]).norm(dim=-1).mean(dim=1)


def random_starts(embedding: ScanEmbedding, generator: torch.Generator, starts: int = 10) -> Starts:
    """Draw random places near the scan's middle, which all structures share.

    Args:
        embedding: the scan.
        generator: of the places.
        starts: how many.
    """
    low, high = (torch.as_tensor(side, dtype=torch.float32) for side in embedding.view)
    jitter = (2 * torch.rand(starts, 3, generator=generator) - 1) * START_JITTER_MM
    places = (low + high) / 2 + jitter
    return Starts(places, embedding.latents(places), embedding.range_mm)
