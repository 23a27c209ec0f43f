"""A candidate: the place of one structure as each template finds it, before its status is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.search.options import AGREEMENT_MM

Array = NDArray[np.float64]


def agreed(values: Array) -> Array:
    """Compute where several templates agree: Huber's location estimate, started at the median.

    The mean of five is nearer the truth than their median where templates differ as people do; one that is far off
    must not draw the others along.

    Args:
        values: (S, ...) mm.

    Returns:
        (...) mm.
    """
    middle: Array = np.median(values, axis=0)
    for _ in range(3):
        middle = middle + np.clip(values - middle, -AGREEMENT_MM, AGREEMENT_MM).mean(axis=0)
    return middle


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
        support: share of the pairs around the structure that agree with the alignment, 0 to 1; None without alignment.
        common: mean cosine of those pairs, -1 to 1; None likewise.
    """

    points: Array
    coarse: Array
    similarity: float
    spread_mm: float
    fit_mm: float | None = None
    support: float | None = None
    common: float | None = None

    @property
    def faces(self) -> Array:
        """(S, 6) LPS mm: the faces x-, x+, y-, y+, z-, z+ through each template's extreme points."""
        found: Array = self.points[:, np.arange(6), np.arange(6) // 2]
        return found

    @property
    def box(self) -> Box:
        """The box on which the templates agree (see ``agreed``), LPS mm."""
        return Box.from_faces(agreed(self.faces))


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
        support=mean([a.support for a in candidates]),
        common=mean([a.common for a in candidates]),
    )
