"""What sam-tiny's training samples show, and boxes that are as wrong as located ones."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SamplingConfig:
    """What training samples show, and how far it is changed.

    Attributes:
        openkbp, body, phantom, nameless: weights of the four sources (absent ones are left out).
        regions: weights of the regions of the body among nameless samples.
        leave_out: structures, groups or regions of the body that are not trained on (``train_arrays.leave_out``).
        empty: share of labelled samples whose slice lies past the structure's end.
        empty_rough: share of these with a rough mask that reaches there.
        prior: share of labelled samples with a mask prompt made of other patients' masks.
        rough: share of all samples with a mask prompt that is nearly right, and with its box.
        rough_error_mm: the error of such a box as the network is given it.
        other_plane: share of coronal and sagittal samples among those without other patients' masks.
        points: share of labelled samples with a point inside, one outside, or both.
        exact, jittered: share of exact boxes, and of boxes with sides moved by up to 20 % of the edge; the
            others are moved as a located box is.
        errors: file with the errors of located boxes (``benchmarks/segment/box_errors.py``); a normal distribution of
            ``error_mm`` where None.
        error_mm: (low, high) standard deviation of a located box's faces.
        located_error_mm: the error of a located box as the network is given it.
        scale: (low, high) factor of located boxes' errors, of which the network is told.
        zoom: (low, high) crop side over the longest edge of the box.
        min_side_mm: (low, high) smallest crop side.
        intensity: whether HU are shifted, scaled, blurred and made noisy.
    """

    openkbp: float = 0.58
    body: float = 0.16
    phantom: float = 0.10
    nameless: float = 0.16
    regions: Mapping[str, float] = field(
        default_factory=lambda: {"head-neck": 0.25, "chest": 0.3, "abdomen": 0.3, "pelvis": 0.15}
    )
    leave_out: tuple[str, ...] = ()
    empty: float = 0.06
    empty_rough: float = 0.5
    prior: float = 0.4
    rough: float = 0.2
    rough_error_mm: float = 2.0
    other_plane: float = 0.15
    points: float = 0.3
    exact: float = 0.15
    jittered: float = 0.45
    errors: str | None = None
    error_mm: tuple[float, float] = (2.0, 8.0)
    located_error_mm: float = 6.0
    scale: tuple[float, float] = (0.4, 1.2)
    zoom: tuple[float, float] = (1.5, 2.8)
    min_side_mm: tuple[float, float] = (32.0, 60.0)
    intensity: bool = True


@lru_cache(maxsize=4)
def located_errors(file: str) -> NDArray[np.float64]:
    """Read (N, 6) outward errors of located boxes, mm, along (x-, x+, y-, y+, z-, z+)."""
    return np.asarray(json.loads(Path(file).read_text(encoding="utf-8"))["errors_mm"], dtype=float)


def move_box(
    box: NDArray[np.float64], sampling: SamplingConfig, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Keep a box, jitter its sides, or make it as wrong as a located box.

    Args:
        box: (2 * D,) mm: D low faces, then D high ones.
        sampling: how often which.
        rng: the only source of chance.

    Returns:
        The box, and the standard deviation of its sides in mm.
    """
    kind, sides = rng.random(), len(box) // 2
    if kind < sampling.exact:
        return box, 0.0
    lengths = box[sides:] - box[:sides]
    if kind < sampling.exact + sampling.jittered:
        share = 0.2 * rng.random() ** 0.5
        return jitter(box, share, rng), share * float(lengths.mean()) / math.sqrt(3)
    edges = np.tile(lengths, 2)
    if sampling.errors:
        known = located_errors(sampling.errors)
        # any axis' errors may come to any axis, and low faces' to high ones
        pairs = known[rng.integers(len(known))].reshape(3, 2)[rng.permutation(3)[:sides]]
        pairs = pairs[:, rng.permutation(2)]
        errors = np.concatenate([-pairs[:, 0], pairs[:, 1]])
    else:
        errors = rng.normal(0, rng.uniform(*sampling.error_mm), len(box))
        # half of a located box's error moves the whole box
        errors = errors + 0.7 * np.tile(rng.normal(0, rng.uniform(*sampling.error_mm), sides), 2)
    scale = float(rng.uniform(*sampling.scale))
    moved = box + np.clip(scale * errors, -0.4 * edges, 0.4 * edges)
    return np.asarray(moved), scale * sampling.located_error_mm


def jitter(box: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Move each side by up to a share of the edge."""
    return box + rng.uniform(-share, share, len(box)) * np.tile(
        box[len(box) // 2 :] - box[: len(box) // 2], 2
    )
