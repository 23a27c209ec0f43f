"""Alignment of a scan with a template's scan: anchors all over the body, matched in the whole scan, and a robust fit.

The first answer of every search. Each anchor of the template is compared with a lattice over the scan's body; pairs
that are each other's best match count most. The shift on which most pairs agree starts a robust fit of scale and shift
along each axis: one person differs from another by little more on the scale of the body. Around a structure the fit is
repeated with the pairs near it, since organs move against each other.

Votes of relative distances (``votes.py``) are precise over a few centimetres and unsure over a body; hundreds of
matched places hold together what no single one knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medlsam.localize.templates.anchors import Anchors

#: Step of the lattice over the scan's body, mm.
STEP_MM = 16.0
#: Temperature of the matches, on the mean cosine; half and twice of it give the same boxes.
TEMPERATURE = 0.05
#: Matches of each anchor that take part.
MATCHES = 8
#: Fewer anchors or places than this say nothing of a body.
FEWEST = 12
#: Bins of the histogram of shifts, mm, and its smoothing, bins.
BIN_MM, SMOOTH_BINS = 16.0, 1.5
#: Pairs this far off the fit count a quarter, mm: wide at first, since scales are not known yet.
OUTLIER_MM = (60.0, 40.0, 30.0, 25.0, 20.0, 20.0, 20.0)
#: The same around a structure, and how far around it, mm (standard deviation).
LOCAL_OUTLIER_MM = (40.0, 30.0, 25.0, 20.0, 20.0, 20.0)
LOCAL_MM = 40.0
#: The fit draws scales towards 1, and those around a structure towards the fit's, as if this variance (mm^2) said so,
#: and around a structure as if that share of the pairs' own variance did as well.
PRIOR_MM2, LOCAL_PRIOR_SHARE = 400.0, 0.5
#: Limits of the scales.
SCALE_LIMITS = (0.75, 1.35)
#: Where fewer of the pairs than this share lie in the scan, nothing is left to fit.
_LEAST_SHARE = 1e-3
#: Products held at a time.
_BUDGET = 4_000_000

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """A scale and shift along each axis: place in the scan = scale * place in the template + shift, mm.

    Attributes:
        scale: (3,).
        shift: (3,) mm.
        off_mm: mean distance of the pairs from the fit, under their weights and cut off at the outlier distance.
        support: share of the pairs' weight that agrees with the fit, 0 to 1.
        similarity: mean cosine of the pairs that agree: what is usual between these two scans, -1 to 1.
    """

    scale: Array
    shift: Array
    off_mm: float = 0.0
    support: float = 0.0
    similarity: float = 0.0

    def apply(self, points: Array) -> Array:
        """Map (..., 3) places of the template into the scan, LPS mm."""
        return points * self.scale + self.shift


@dataclass(frozen=True, eq=False)
class Alignment:
    """Pairs of places that correspond in a template's scan and in another, and the fit of all of them.

    Attributes:
        source: (K, 3) in the template, LPS mm.
        target: (K, 3) in the scan, LPS mm.
        weight: (K,) how much each pair counts.
        similarity: (K,) cosine of each.
        whole: the fit of all pairs.
        view: (2, 3) LPS mm: the corners of the scan's lattice.
    """

    source: Array
    target: Array
    weight: Array
    similarity: Array
    whole: Fit
    view: Array

    def around(self, centre: Array) -> Fit:
        """Fit the pairs near a place (3,) of the template, drawn towards the whole scan's fit."""
        squared = np.square(self.source - centre).sum(axis=-1)
        near = squared < (4 * LOCAL_MM) ** 2
        weight = self.weight[near] * np.exp(-0.5 * squared[near] / LOCAL_MM**2)
        if np.count_nonzero(near) < FEWEST or weight.sum() <= 0:
            return self.whole
        pairs = (self.source[near], self.target[near], weight, self.similarity[near])
        return _fit(*pairs, self.whole, self.view, LOCAL_OUTLIER_MM, LOCAL_PRIOR_SHARE)


def align(anchors: Anchors, lattice: tuple[Tensor, Tensor]) -> Alignment | None:
    """Match a template's anchors in a scan.

    Args:
        anchors: of the template.
        lattice: of the scan, from ``ScanEmbedding.body_lattice``.

    Returns:
        None where too little body is in one of the scans.
    """
    places, features = lattice
    if len(anchors.points) < FEWEST or len(places) < FEWEST:
        return None
    found = _matches(torch.from_numpy(anchors.features), features)
    weight, similarity = (part.double().flatten().numpy() for part in found[:2])
    index = found[2].numpy()
    source = np.repeat(anchors.points.astype(np.float64), index.shape[1], axis=0)
    target = places.double().numpy()[index.ravel()]
    start = Fit(np.ones(3), _common_shift(target - source, weight))
    view = np.stack([part.double().numpy() for part in (places.amin(dim=0), places.amax(dim=0))])
    whole = _fit(source, target, weight, similarity, start, view, OUTLIER_MM, 0.0)
    return Alignment(source, target, weight, similarity, whole, view)


def _matches(wanted: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Match N anchors' features (N, F) with those of M places (M, F).

    Returns:
        (N, K) weights, the geometric mean of the softmax over places and that over anchors; (N, K) cosines; (N, K)
        places.
    """
    rows = wanted.split(max(1, _BUDGET // len(features)))
    # Half: the features are two stacked unit vectors.
    others = features.T * (0.5 / TEMPERATURE)
    # Over all anchors first: how much else each place resembles.
    claimed = torch.full((len(features),), -torch.inf)
    for part in rows:
        claimed = torch.logaddexp(claimed, torch.logsumexp(part @ others, dim=0))
    found = []
    for part in rows:
        score = part @ others
        log = score - 0.5 * (torch.logsumexp(score, dim=1, keepdim=True) + claimed)
        best, index = log.topk(min(MATCHES, len(features)), dim=1)
        found.append((best.exp(), score.gather(1, index) * TEMPERATURE, index))
    weight, cosine, place = (torch.cat(part) for part in zip(*found, strict=True))
    return weight, cosine, place


def _common_shift(shift: Array, weight: Array) -> Array:
    """Find the shift (3,) mm on which most of the pairs' shifts (K, 3) agree."""
    low = np.floor(shift.min(axis=0) / BIN_MM) * BIN_MM
    bins = ((shift - low) // BIN_MM).astype(int)
    counts = np.zeros(bins.max(axis=0) + 1)
    np.add.at(counts, tuple(bins.T), weight)
    counts = ndimage.gaussian_filter(counts, SMOOTH_BINS, mode="constant")
    return np.asarray(low + (np.array(np.unravel_index(counts.argmax(), counts.shape)) + 0.5) * BIN_MM)


def _fit(
    source: Array,
    target: Array,
    weight: Array,
    similarity: Array,
    start: Fit,
    view: Array,
    outliers_mm: tuple[float, ...],
    share: float,
) -> Fit:
    """Fit pairs by iteratively reweighted least squares; scales are drawn towards those of ``start``.

    Args:
        source: (K, 3) mm.
        target: (K, 3) mm.
        weight: (K,).
        similarity: (K,) cosines.
        start: the first fit.
        view: (2, 3) corners of what was scanned, mm. Anchors beyond have no place there; their matches gather at the
            scan's edge and would draw the fit together.
        outliers_mm: of each round.
        share: of the pairs' variance with which the prior counts, beside ``PRIOR_MM2``.
    """
    scale, shift = start.scale, start.shift
    for outlier in outliers_mm:
        expected = scale * source + shift
        seen = ((expected >= view[0] - STEP_MM / 2) & (expected <= view[1] + STEP_MM / 2)).all(axis=-1)
        squared = np.square(target - expected).sum(axis=-1)
        own = (weight * seen / (1 + squared / outlier**2) ** 2)[:, None]
        total = own.sum()
        if total <= _LEAST_SHARE * weight.sum():
            break
        mean_s, mean_t = (own * source).sum(axis=0) / total, (own * target).sum(axis=0) / total
        ds, dt = source - mean_s, target - mean_t
        variance = (own * ds * ds).sum(axis=0) / total
        prior = PRIOR_MM2 + share * variance
        covariance = (own * ds * dt).sum(axis=0) / total
        scale = np.clip((covariance + prior * start.scale) / (variance + prior), *SCALE_LIMITS)
        shift = mean_t - scale * mean_s
    squared = np.square(target - (scale * source + shift)).sum(axis=-1)
    agrees = weight / (1 + squared / outliers_mm[-1] ** 2) ** 2
    off = np.minimum(np.sqrt(squared), outliers_mm[0])
    total, agreeing = weight.sum() + 1e-12, agrees.sum() + 1e-12
    return Fit(
        scale,
        shift,
        off_mm=float((weight * off).sum() / total),
        support=float(agreeing / total),
        similarity=float((agrees * similarity).sum() / agreeing),
    )
