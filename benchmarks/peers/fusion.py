"""Several atlases' labels to one answer: a majority vote, and one where atlases that look like the scan weigh more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def vote(labels: Sequence[NDArray[np.uint8]], weights: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """The label with the largest sum of weights in each voxel; of equal ones the lowest, so background first.

    Args:
        labels: of each atlas, (Z, Y, X).
        weights: of each atlas, (Z, Y, X), positive.
    """
    values = np.unique(np.concatenate([np.unique(own) for own in labels]))
    sums = np.zeros((len(values), *labels[0].shape), np.float32)
    for own, weight in zip(labels, weights, strict=True):
        for total, value in zip(sums, values, strict=True):
            total += weight * (own == value)
    return np.asarray(values[sums.argmax(axis=0)])


def majority(labels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The label of most atlases in each voxel, (Z, Y, X) of (Z, Y, X) each; see ``vote``."""
    return vote(labels, [np.ones(own.shape, np.float32) for own in labels])


def local_weights(
    scan: NDArray[Any],
    atlases: Sequence[NDArray[Any]],
    spacing_zyx: Sequence[float],
    reach_mm: float,
    power: float,
) -> list[NDArray[np.float32]]:
    """How much each atlas weighs in each voxel: its local mean squared difference to the scan, to a negative power.

    Args:
        scan: grey levels, (Z, Y, X).
        atlases: grey levels of each atlas in the scan's place, (Z, Y, X).
        spacing_zyx: of the voxels, mm.
        reach_mm: standard deviation of the Gaussian that "local" is.
        power: 0 makes all weigh alike.
    """
    sigma = [reach_mm / spacing for spacing in spacing_zyx]
    # A grey level of noise, so that no atlas weighs without bounds.
    return [
        np.asarray((gaussian_filter(np.square(own - scan), sigma) + 1.0) ** -power, np.float32)
        for own in atlases
    ]
