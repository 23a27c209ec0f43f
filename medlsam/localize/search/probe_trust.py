"""Probe trust: how far the faces of a box follow the boundary probe, along each axis of each structure.

A lung ends where its voxels say so, and the probe may move its faces a long way. The end of a contoured spinal cord
along z is a convention that no voxel shows, and there the probe does harm. The templates, located with each other
(leave-one-out), show which is which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.boundary_probe import GROWTH_MM, Probe, ProbeResult, fit_probe
from medlsam.localize.templates.shape import mean_shape
from medlsam.localize.templates.template_set import DEFAULT_TRUST, AxisTrust, StructureTemplate, Trust

Array = NDArray[np.float64]
TRUSTS: tuple[Trust, ...] = get_args(Trust)
#: A trust must win by this much in leave-one-out, mm, along (x, y, z): a few templates say little, and in many
#: template sets (benchmarks/localize/reach.py) gentle was right within slices and none along z.
HANDICAP_MM: dict[Trust, tuple[float, float, float]] = {
    "none": (0.5, 0.5, 0.0),
    "gentle": (0.0, 0.0, 1.0),
    "strong": (1.0, 1.0, 1.5),
}
#: A probe that separates the structure from its surroundings by less than the first is not followed in this scan, by
#: more than the second fully (standard deviations, see ``ProbeResult.contrast``): where it hardly does, as in another
#: contrast phase, its region leaks.
CONTRASTS = (2.5, 3.5)
#: How many trials the mean over all axes is worth against those of one axis.
STRUCTURE_WORTH = 4.0


@dataclass(frozen=True)
class _Stride:
    """How faces move under one trust.

    Attributes:
        share: of the way to the probe's faces.
        most_mm: largest move in one step, mm.
        most_share: the same as a share of the box's edge; the larger of both holds.
        growth_share: margin of the probe's lattice as a share of the edge.
        times: steps.
    """

    share: float
    most_mm: float
    most_share: float
    growth_share: float
    times: int


_STRIDES: dict[Trust, _Stride] = {
    "gentle": _Stride(share=0.5, most_mm=6.0, most_share=0.0, growth_share=0.0, times=1),
    "strong": _Stride(share=0.7, most_mm=4.0, most_share=0.12, growth_share=0.15, times=2),
}


def moved_faces(embedding: ScanEmbedding, probe: Probe, first: ProbeResult, trust: Trust) -> Array:
    """Move the faces of a box towards the probe's, all axes alike: (6,) LPS mm.

    Args:
        embedding: the scan.
        probe: of the structure.
        first: the probe's scores around the box as located.
        trust: how far the faces follow.
    """
    faces = np.asarray(first.box.faces)
    if trust == "none":
        return faces
    stride = _STRIDES[trust]
    most = np.maximum(stride.most_mm, stride.most_share * _edges(faces))
    moved, probed = faces, first
    for time in range(stride.times):
        growth = np.maximum(GROWTH_MM, stride.growth_share * _edges(moved)[::2])
        if time or (growth > GROWTH_MM).any():
            probed = probe.apply(embedding, Box.from_faces(moved), growth)
        following = moved + np.clip(stride.share * (probed.faces - moved), -most, most)
        if (following[1::2] <= following[::2]).any():
            break
        moved = following
    return moved


def apply_probe(
    embedding: ScanEmbedding, templates: Sequence[StructureTemplate], box: Box, trusts: Iterable[Trust]
) -> tuple[dict[Trust, Array], float | None]:
    """Apply the probe to a box under several trusts.

    Args:
        embedding: the scan.
        templates: of the structure.
        box: as located by the search, LPS mm.
        trusts: those wanted.

    Returns:
        Trust to (6,) faces, LPS mm, and the probe's contrast, on which also depends how far faces move; the box's own
        faces and None where no template has a mask.
    """
    wanted = tuple(dict.fromkeys(trusts))
    probe, shape = fit_probe(templates), mean_shape(templates)
    if probe is None or shape is None or min(box.size) <= 0:
        return dict.fromkeys(wanted, np.asarray(box.faces)), None
    first = probe.apply(embedding, box)
    contrast, faces = first.contrast(shape), np.asarray(box.faces)
    share = float(np.interp(contrast, CONTRASTS, (0.0, 1.0)))
    if not share:
        return dict.fromkeys(wanted, faces), contrast
    moved = {trust: moved_faces(embedding, probe, first, trust) for trust in wanted}
    return {trust: faces + share * (own - faces) for trust, own in moved.items()}, contrast


def along_axes(faces: Mapping[Trust, Array], trusts: Sequence[Trust]) -> Array:
    """Take each axis' faces from its own trust: (6,) LPS mm.

    Args:
        faces: trust to (6,) faces, for at least the three trusts.
        trusts: for x, y, z.
    """
    return np.concatenate([faces[trust][2 * axis : 2 * axis + 2] for axis, trust in enumerate(trusts)])


def recommend_trust(errors: Mapping[Trust, Array]) -> AxisTrust:
    """Choose the trust along x, y, z with which the left-out templates were located best.

    Args:
        errors: every trust to (n, 6) located minus marked faces of the same n trials, mm.

    Returns:
        One for each axis; ``DEFAULT_TRUST`` where n is 0.
    """
    count = len(errors["none"])
    if not count:
        return DEFAULT_TRUST
    costs = np.stack([_cost(np.abs(errors[trust])) + HANDICAP_MM[trust] for trust in TRUSTS])
    x, y, z = (TRUSTS[int(place)] for place in costs.argmin(axis=0))
    return x, y, z


def _cost(size: Array) -> Array:
    """Mean absolute error along each axis (3,), mm, drawn towards that of all axes."""
    own = size.reshape(len(size), 3, 2).mean(axis=(0, 2))
    drawn: Array = (len(size) * own + STRUCTURE_WORTH * size.mean()) / (len(size) + STRUCTURE_WORTH)
    return drawn


def _edges(faces: Array) -> Array:
    edges: Array = np.repeat(faces[1::2] - faces[::2], 2)
    return edges
