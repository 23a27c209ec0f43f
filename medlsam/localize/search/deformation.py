"""Deformation: how a structure's shape differs in this scan from what scale and shift make of the template's.

A discrete deformable registration of the structure's surroundings, by the features of the network. Each node of the
template (``templates.nodes``) is compared with a lattice over the scan; its displacement is the soft arg-max of the
similarity, near where its neighbours take it. Rounds of matching and smoothing narrow that down, as in coupled convex
optimisation (Siebert, Hansen and Heinrich, ConvexAdam). The faces of the box move with the nodes around their extreme
points.

Thin structures keep their faces: one and a half cells of the finest features say nothing of a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.fit_axes import fit_axes
from medlsam.localize.templates.landmarks import EXTREMES
from medlsam.localize.templates.nodes import edge_of
from medlsam.localize.templates.template_set import StructureTemplate

#: Structures whose shortest edge is the first keep their faces, from the second on they follow the nodes fully, mm.
EDGES_MM = (25.0, 60.0)
#: How far a node is looked for: the structure's edge, within these limits, mm.
REACH_MM = (16.0, 60.0)
#: Each round looks this share of the reach around where the neighbours take a node.
ROUNDS = (1.0, 0.66, 0.44, 0.33)
#: Temperature of the soft arg-max, on the mean cosine; half and twice of it give the same faces.
TEMPERATURE = 0.03
#: Displacements are smoothed over this share of the edge, within these limits, mm.
SMOOTH_SHARE, SMOOTH_MM = 0.3, (8.0, 30.0)
#: A node whose match is spread over more than this, mm, counts little.
SPREAD_MM = 12.0
#: Nodes that match nothing stay: so much weight says that nothing moves (a node that matches well has 0.1 to 1).
STAY_WEIGHT = 0.05
#: Step of the lattice over the scan, as a share of the edge, within these limits, mm; and about so many places at most.
STEP_SHARE, STEP_MM, MOST_PLACES = 1 / 8, (4.0, 10.0), 3000
#: The lattice goes this share of the reach beyond the nodes.
_BEYOND = 0.7
_LEAST_SIMILARITY = 0.05
_FACE, _AXIS = np.arange(6), np.arange(6) // 2


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """A lattice over the scan around a structure: places (M, 3) mm from ``middle``, and features (M, F)."""

    places: Tensor
    features: Tensor
    middle: NDArray[np.float64]


def follow_shape(
    embedding: ScanEmbedding, templates: Sequence[StructureTemplate], candidate: Candidate
) -> Candidate:
    """Let the faces of a candidate follow the templates' nodes.

    Args:
        embedding: the scan.
        templates: of the structure, S of them.
        candidate: as the windows place it: where the nodes start from.

    Returns:
        The candidate with other extreme points, each moved along the axis of its face.
    """
    points = candidate.points.copy()
    for own, template in zip(points, templates, strict=True):
        share = float(np.interp(min(template.box.size), EDGES_MM, (0.0, 1.0)))
        if not share or not len(template.node_points):
            continue
        source = template.points.astype(float)
        scale, shift = fit_axes(source, own, np.ones(len(source)))
        nodes, extremes = (
            part * scale + shift for part in (template.node_points.astype(float), source[EXTREMES])
        )
        moved = extremes + _displacements(
            embedding, nodes, template.node_features, extremes, edge_of(template.box)
        )
        own[_FACE, _AXIS] += share * (moved[_FACE, _AXIS] - own[_FACE, _AXIS])
    return replace(candidate, points=points)


def _surroundings(
    embedding: ScanEmbedding, nodes: NDArray[np.float64], edge: float, reach: float
) -> _Surroundings:
    """Read the features around nodes (N, 3) LPS mm."""
    low, high = nodes.min(axis=0) - _BEYOND * reach, nodes.max(axis=0) + _BEYOND * reach
    step = max(
        float(np.clip(STEP_SHARE * edge, *STEP_MM)), float(np.prod(high - low) / MOST_PLACES) ** (1 / 3)
    )
    axes = [np.arange(a + step / 2, b, step) for a, b in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    # From the middle: squares of LPS mm would take the precision of float32.
    middle = places.mean(axis=0)
    with torch.inference_mode():
        features = embedding.read_lattice(axes).float()
    return _Surroundings(torch.from_numpy(places - middle).float(), features, middle)


def _displacements(
    embedding: ScanEmbedding,
    nodes: NDArray[np.float64],
    features: NDArray[np.float32],
    wanted: NDArray[np.float64],
    edge: float,
) -> NDArray[np.float64]:
    """Compute how far places (P, 3) of a structure move with the nodes around them, (P, 3) mm.

    Args:
        embedding: the scan.
        nodes: (N, 3) LPS mm where scale and shift take them.
        features: (N, F) of the nodes in their template: three stacked unit vectors.
        wanted: (P, 3) LPS mm, likewise.
        edge: of the structure, mm.
    """
    reach = float(np.clip(edge, *REACH_MM))
    around = _surroundings(embedding, nodes, edge, reach)
    start = torch.from_numpy(nodes - around.middle).float()
    squares = around.places.square().sum(dim=1)
    score = torch.from_numpy(features).float() @ around.features.T / (3 * TEMPERATURE)
    width = float(np.clip(SMOOTH_SHARE * edge, *SMOOTH_MM))
    smoothing = _near(start, start, width)
    moved = found = torch.zeros_like(start)
    weight = torch.ones(len(start), 1)
    for share in ROUNDS:
        radius = share * reach
        expected = start + moved
        # The squared distance but for a part that is the same for all places of a node.
        nearness = (expected @ around.places.T - squares / 2) / radius**2
        match = torch.softmax(score + nearness, dim=1)
        place = match @ around.places
        found = place - start
        spread = (match @ squares - place.square().sum(dim=1)).clamp(min=0)
        similarity = ((match * score).sum(dim=1) * TEMPERATURE).clamp(_LEAST_SIMILARITY, 1)
        weight = (torch.exp(-spread / SPREAD_MM**2) * similarity.square())[:, None]
        moved = (smoothing @ (weight * found)) / (smoothing @ weight + STAY_WEIGHT)
    near = _near(torch.from_numpy(wanted - around.middle).float(), start, width)
    moved = (near @ (weight * found)) / (near @ weight + STAY_WEIGHT)
    return np.asarray(moved.double().numpy())


def _near(places: Tensor, nodes: Tensor, width: float) -> Tensor:
    """(P, N) Gaussian weights of nodes (N, 3) for places (P, 3), mm."""
    return torch.exp(-torch.cdist(places, nodes).square() / (2 * width**2))
