"""Anchors: places all over a template's body, by which another scan is aligned with it.

A structure's own landmarks are few and lie close together, so that a search by them alone may settle a vertebra too
high. Anchors lie on a lattice over the whole body in the template's scan; hundreds of them say together where the two
scans correspond (``search.alignment``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.protocol import ScanEmbedding

#: Step of the lattice, mm.
STEP_MM = 32.0
#: Further than this from all structures every second place along each axis is enough: the fit of the whole scan needs
#: no more, and the files of whole bodies stay small.
NEAR_MM = 160.0


@dataclass(frozen=True, eq=False)
class Anchors:
    """Places in one template's scan and their features.

    Attributes:
        points: (N, 3) float32 LPS mm.
        features: (N, F) float32, as ``ScanEmbedding.body_lattice`` gives them.
    """

    points: NDArray[np.float32]
    features: NDArray[np.float32]


def read_anchors(embedding: ScanEmbedding, boxes: Sequence[Box]) -> Anchors | None:
    """Choose places of a template's body and read their features.

    Args:
        embedding: of the template's scan.
        boxes: of its structures, LPS mm.

    Returns:
        None where the network has no features to compare whole scans by.
    """
    lattice = embedding.body_lattice(STEP_MM)
    if lattice is None:
        return None
    points, features = (part.numpy() for part in lattice)
    low, high = (np.array([getattr(box, side) for box in boxes]) for side in ("min", "max"))
    away = np.maximum(np.maximum(low - points[:, None], points[:, None] - high), 0)
    near = (np.linalg.norm(away, axis=-1) < NEAR_MM).any(axis=1)
    steps = np.rint((points - points.min(axis=0, initial=np.inf)) / STEP_MM).astype(int)
    kept = near | (steps % 2 == 0).all(axis=1)
    return Anchors(points[kept], features[kept])
