"""A robust scale and shift along each axis that carries one set of places to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medlsam.localize.search.options import (
    FIT_OUTLIER_MM,
    FIT_ROUNDS,
    SCALE_LIMITS,
    SCALE_PRIOR_MM2,
    SCALE_PRIOR_SHARE,
)


def fit_axes(
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    rounds: int = FIT_ROUNDS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a robust scale and shift per axis: target = scale * source + shift.

    Iteratively reweighted least squares with Cauchy weights; a prior draws the scale towards 1, and ``SCALE_LIMITS``
    bound it (see ``options``).

    Args:
        source: (..., P, 3) mm: any number of fits at once.
        target: (..., P, 3) mm.
        weight: (..., P) non-negative.
        rounds: of reweighting.

    Returns:
        scale (..., 3), shift (..., 3).
    """

    def total_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values.sum(axis=-2, keepdims=True))

    scale, shift = np.ones(3), np.zeros(3)
    residual = np.zeros_like(source)
    for round_ in range(rounds):
        w = np.repeat(weight[..., None], 3, axis=-1)
        if round_:
            w = w / (1 + (residual / FIT_OUTLIER_MM) ** 2)
        total = total_of(w) + 1e-9
        mean_s, mean_t = total_of(w * source) / total, total_of(w * target) / total
        ds, dt = source - mean_s, target - mean_t
        variance = total_of(w * ds * ds) / total
        prior = SCALE_PRIOR_SHARE * variance + SCALE_PRIOR_MM2
        scale = np.clip((total_of(w * ds * dt) / total + prior) / (variance + prior), *SCALE_LIMITS)
        shift = mean_t - scale * mean_s
        residual = target - (scale * source + shift)
    return scale[..., 0, :], shift[..., 0, :]
