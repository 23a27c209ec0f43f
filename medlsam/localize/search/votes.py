"""Where in a scan is a point whose latent position is known? The coarse answer, by relative distance regression.

The paper starts from ten random places; a dense encoder can start from every cell of the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from medlsam.localize.network.relative_distance import predicted_offset
from medlsam.localize.protocol import ScanEmbedding

#: The authors' code starts within ten voxels of 3 mm of the scan's middle.
START_JITTER_MM = 30.0


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
        answer = _mean(votes, weight / (distance + 5.0))
    return answer, (distance * weight).sum(dim=1) / weight.sum(dim=1)


def coarse_consensus(
    embedding: ScanEmbedding,
    latents: Tensor,
    near_mm: tuple[float, ...] = (80.0, 60.0),
    budget: int = 200_000,
) -> tuple[Tensor, Tensor]:
    """Every body cell votes c + r * tanh(p_s - p_c); take the votes' robust centre.

    Offsets are learnt best over short distances. So the first centre weights cells that say of themselves that they
    are near (a short predicted offset), and the repeats weight cells that are near the centre found. Cells that expect
    to be wrong say less.

    Args:
        embedding: the scan.
        latents: (N, 3) latent positions looked for.
        near_mm: Gaussian radii: of the predicted offset first, then of the distance in each repeat.
        budget: votes held at a time: few enough to stay in the processor's cache, where the sums take half as long.

    Returns:
        (N, 3) LPS mm and (N,) mm: weighted mean distance of the votes from the answer.
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
        answer, spread = _weighted_centre(votes, _near(distance, near_mm[0], trust))
        for radius in near_mm:
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
    """The random places from which the paper starts.

    Attributes:
        places: (M, 3) LPS mm.
        latents: (M, 3) latent positions there.
        range_mm: (3,) r of equation 2.
    """

    places: Tensor
    latents: Tensor
    range_mm: Tensor

    def offset_to(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The coarse inference of the paper (section 2.2), as its authors' code does it.

        The starts' latent positions are averaged, and the offset from the mean place is taken once.

        Args:
            latents: (N, 3) latent positions looked for.

        Returns:
            (N, 3) LPS mm and (N,) mm: mean distance of the single starts' answers from the answer.
        """
        mean = self.latents.mean(dim=0)
        answer = self.places.mean(dim=0) + predicted_offset(mean, latents, self.range_mm)
        single = self.places[None] + predicted_offset(self.latents[None], latents[:, None], self.range_mm)
        return answer, (single - answer[:, None]).norm(dim=-1).mean(dim=1)


def random_starts(embedding: ScanEmbedding, generator: torch.Generator, starts: int = 10) -> Starts:
    """Ten random places near the scan's middle, which all structures share.

    Args:
        embedding: the scan.
        generator: of the places.
        starts: how many.
    """
    low, high = (torch.as_tensor(side, dtype=torch.float32) for side in embedding.view)
    jitter = (2 * torch.rand(starts, 3, generator=generator) - 1) * START_JITTER_MM
    places = (low + high) / 2 + jitter
    return Starts(places, embedding.latents(places), embedding.range_mm)
