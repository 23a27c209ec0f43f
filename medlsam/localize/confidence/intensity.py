"""Intensities inside a structure, as quantiles: those of a located box compared with the templates'.

Where an organ was taken out, its surroundings are still there, and a search by surroundings finds its place. The tissue
that fills the place has other intensities.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from einops import reduce
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.templates.shape import mean_shape
from medlsam.localize.templates.template_set import KEPT_STRUCTURES, SHAPE_SIZE, StructureTemplate

#: Of the normalised intensities; the ends are left out, where neighbours and metal are.
QUANTILES = np.linspace(0.1, 0.9, 9)
#: A place counts as inside where the templates' smoothed mean shape is at least this share of its maximum.
CORE = 0.75
#: Places along each edge of the box.
PLACES = 16


@lru_cache(maxsize=1)
def _smoothing() -> NDArray[np.float64]:
    """(16, 32) matrix that smooths one axis of a shape (0 beyond its ends) and averages pairs."""
    smooth = ndimage.gaussian_filter1d(np.eye(SHAPE_SIZE[0]), 1.5, axis=0, mode="constant")
    return np.asarray(reduce(smooth, "(z p) x -> z x", "mean", z=PLACES))


def core_places(shape: NDArray[np.float32], box: Box) -> NDArray[np.float64]:
    """Choose places (N, 3) LPS mm well inside a structure, on a lattice over its box.

    Args:
        shape: (32, 32, 32) share of the templates that are inside, 0 to 1, along (z, y, x).
        box: the structure's, LPS mm.
    """
    return _in_box(core_shares(shape), box)


def core_shares(shape: NDArray[np.float32]) -> NDArray[np.float64]:
    """Choose places (N, 3) well inside a structure, in fractions of its box along (x, y, z)."""
    lattice = shape.astype(np.float64)
    for _ in range(3):  # each step smooths the last axis and puts it at the front
        lattice = np.tensordot(_smoothing(), lattice, axes=(1, 2))
    index = np.argwhere(lattice >= CORE * lattice.max())[:, ::-1]
    return np.asarray((index + 0.5) / PLACES)


@lru_cache(maxsize=KEPT_STRUCTURES)
def _core_of(templates: tuple[StructureTemplate, ...]) -> NDArray[np.float64] | None:
    """Compute ``core_shares`` of the templates' mean shape; None where none has a mask."""
    shape = mean_shape(templates)
    return None if shape is None else core_shares(shape)


def _in_box(shares: NDArray[np.float64], box: Box) -> NDArray[np.float64]:
    return np.asarray(np.asarray(box.min) + shares * np.asarray(box.size))


def spread_inside(embedding: ScanEmbedding, shape: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """Compute the quantiles (9,) of the intensities inside a structure; empty where the embedding keeps none.

    Args:
        embedding: the scan.
        shape: (32, 32, 32), see ``core_places``.
        box: the structure's, LPS mm.
    """
    return _quantiles(embedding, core_places(shape, box))


def _quantiles(embedding: ScanEmbedding, places: NDArray[np.float64]) -> NDArray[np.float32]:
    values = embedding.intensities(places)
    return np.zeros(0, np.float32) if values is None else np.quantile(values, QUANTILES).astype(np.float32)


def intensity_distance(
    embedding: ScanEmbedding, templates: Sequence[StructureTemplate], box: Box
) -> float | None:
    """Compute the mean difference between the quantiles inside a box and the templates', in normalised HU (0 to 1).

    Args:
        embedding: the scan.
        templates: of the structure.
        box: as located, LPS mm.

    Returns:
        The difference from the most similar template, as templates differ in contrast phase; None where no template
        has a mask or the embedding keeps no intensities.
    """
    known, core = [s.inside for s in templates if s.inside.size], _core_of(tuple(templates))
    if not known or core is None or min(box.size) <= 0:
        return None
    here = _quantiles(embedding, _in_box(core, box))
    return float(np.abs(np.stack(known) - here).mean(axis=1).min()) if here.size else None
