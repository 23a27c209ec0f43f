"""A candidate: the place of one structure as each template finds it, before its status is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.search.options import AGREEMENT_MM, SUPPORT_STEP

Array = NDArray[np.float64]
_ROUNDING = 1e-9


def agreed(values: Array, weight: Array | None = None) -> Array:
    """Compute where several templates agree: Huber's location estimate, started at the median.

    The mean of five is nearer the truth than their median where templates differ as people do; one that is far off
    must not draw the others along.

    Args:
        values: (S, ...) mm.
        weight: (S,) how much each template counts; all the same where None.

    Returns:
        (...) mm.
    """
    if weight is None:
        weight = np.ones(len(values))
    share = (weight / weight.sum()).reshape(-1, *[1] * (values.ndim - 1))
    middle = weighted_median(values, weight)
    for _ in range(3):
        middle = middle + (share * np.clip(values - middle, -AGREEMENT_MM, AGREEMENT_MM)).sum(axis=0)
    return middle


def weighted_median(values: Array, weight: Array) -> Array:
    """Compute the median along the first axis; with equal weights the usual one, halfway between the middle two.

    Args:
        values: (S, ...).
        weight: (S,) positive.
    """
    order = np.argsort(values, axis=0, kind="stable")
    ordered, own = np.take_along_axis(values, order, axis=0), weight[order]
    below = np.cumsum(own, axis=0) / weight.sum()
    # The first value that reaches half of the weight, and the first that passes it.
    reached, passed = (below < 0.5 - _ROUNDING).sum(axis=0), (below <= 0.5 + _ROUNDING).sum(axis=0)
    found: Array = np.mean(
        [np.take_along_axis(ordered, place[None], axis=0)[0] for place in (reached, passed)], axis=0
    )
    return found


@dataclass(frozen=True, eq=False)
class Candidate:
    """One structure in one scan, as each of its templates places it.

    Attributes:
        points: (S, P, 3) LPS mm, in the order of ``landmarks.places``; S is 1 where the templates were averaged
            before the search, as the paper does.
        coarse: (S, Q, 3) LPS mm: the first Q of them as the first answer (alignment or coarse votes) places them.
        similarity: mean cosine at the best match of each place, -1 to 1.
        spread_mm: mean distance of the first answer's pairs from its fit, or of the coarse votes from their centre.
        fit_mm: mean distance of the refined places from the fit of scale and shift; None where nothing was fitted.
        supports: (S,) share of the pairs around the structure that agree with the alignment of each template's scan, 0
            to 1; None where not all of them were aligned.
        common: mean cosine of those pairs, -1 to 1; None likewise.
    """

    points: Array
    coarse: Array
    similarity: float
    spread_mm: float
    fit_mm: float | None = None
    supports: Array | None = None
    common: float | None = None

    @property
    def faces(self) -> Array:
        """(S, 6) LPS mm: the faces x-, x+, y-, y+, z-, z+ through each template's extreme points."""
        found: Array = self.points[:, np.arange(6), np.arange(6) // 2]
        return found

    @property
    def box(self) -> Box:
        """The box on which the templates agree (see ``agreed``), LPS mm."""
        return Box.from_faces(agreed(self.faces, self.weight))

    @property
    def weight(self) -> Array:
        """(S,) how much each template counts: the better its scan is aligned around the structure, the more."""
        if self.supports is None:
            return np.ones(len(self.points))
        found: Array = np.exp((self.supports - self.supports.max()) / SUPPORT_STEP)
        return found


def merge_candidates(candidates: Sequence[Candidate]) -> Candidate:
    """Merge the candidates of templates that were searched one by one into one candidate."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return Candidate(
        points=np.concatenate([a.points for a in candidates]),
        coarse=np.concatenate([a.coarse for a in candidates]),
        similarity=float(np.mean([a.similarity for a in candidates])),
        spread_mm=float(np.mean([a.spread_mm for a in candidates])),
        fit_mm=mean([a.fit_mm for a in candidates]),
        supports=_joined([a.supports for a in candidates]),
        common=mean([a.common for a in candidates]),
    )


def _joined(parts: Sequence[Array | None]) -> Array | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known and len(known) == len(parts) else None
