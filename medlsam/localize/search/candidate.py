"""What a search says of one structure before anybody judges it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box

Array = NDArray[np.float64]
#: Supports count fully up to this distance from where they agree, and pull no harder beyond it.
ROBUST_MM = 12.0


def agreed(values: Array) -> Array:
    """What several supports agree on: Huber's location estimate, started at the median.

    The mean of five is nearer the truth than their median where supports differ as people do; one that is far off must
    not draw the others along.

    Args:
        values: (S, ...) mm.

    Returns:
        (...) mm.
    """
    middle: Array = np.median(values, axis=0)
    for _ in range(3):
        middle = middle + np.clip(values - middle, -ROBUST_MM, ROBUST_MM).mean(axis=0)
    return middle


@dataclass(frozen=True, eq=False)
class Candidate:
    """The candidates of one structure's supports in one scan.

    Attributes:
        points: (S, P, 3) LPS mm, in the order of ``landmarks.places``; S is 1 where the supports were averaged before
            the search, as the paper does.
        coarse: (S, Q, 3) LPS mm, where the coarse votes put the first Q of them.
        similarity: mean cosine at the best match of each place, -1 to 1.
        spread_mm: mean distance of the coarse votes from their centre.
        fit_mm: mean distance of the refined places from a common scale and shift of the support's; None where nothing
            was fitted.
    """

    points: Array
    coarse: Array
    similarity: float
    spread_mm: float
    fit_mm: float | None = None

    @property
    def faces(self) -> Array:
        """(S, 6) mm: the faces x-, x+, y-, y+, z-, z+ that each support's extreme points give."""
        found: Array = self.points[:, np.arange(6), np.arange(6) // 2]
        return found

    @property
    def box(self) -> Box:
        """What the supports' boxes agree on (see ``agreed``), LPS mm."""
        return Box.from_faces(agreed(self.faces))


def together(candidates: Sequence[Candidate]) -> Candidate:
    """Answers of supports that were asked one by one, as if they had been asked together."""
    fits = [a.fit_mm for a in candidates if a.fit_mm is not None]
    return Candidate(
        points=np.concatenate([a.points for a in candidates]),
        coarse=np.concatenate([a.coarse for a in candidates]),
        similarity=float(np.mean([a.similarity for a in candidates])),
        spread_mm=float(np.mean([a.spread_mm for a in candidates])),
        fit_mm=float(np.mean(fits)) if fits else None,
    )
