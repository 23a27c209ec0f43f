"""Evidence: numbers for and against one candidate; ``status`` decides what they are worth.

The numbers need no truth, so they are the same in leave-one-out among the templates and in a scan that nobody has
marked: a structure's candidate is compared with the values usual for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import GeometryError
from medlsam.geometry import Box
from medlsam.localize.confidence.intensity import intensity_distance
from medlsam.localize.network.encoder import predicted_offset
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.templates.landmarks import FACES, LATTICE
from medlsam.localize.templates.template_set import StructureTemplate

View = tuple[NDArray[np.float64], NDArray[np.float64]]
#: Scales of the stacked features: the sum of their products is this many times the mean cosine.
_SCALES = 3
#: Temperature at which a candidate's features choose among the landmarks of a template.
_MATCH_TEMPERATURE = 0.03


@dataclass(frozen=True)
class Evidence:
    """The numbers behind one candidate; ``StructureCalibration.usual`` holds a structure's usual values.

    Attributes:
        similarity: mean cosine of the templates' features and the scan's at the best match of each landmark, -1 to 1.
        likeness: the same at the median of the templates' places, where every template must fit.
        surface: the same on the structure's surface, as each template places it; None where only points were marked.
        contrast: how clearly the probe separates the structure from its surroundings; None where there is no probe.
        support: share of the places around the structure that agree with the alignment of the templates' scans with
            this one, 0 to 1; None where scans are not aligned.
        relative: ``likeness`` minus the cosine that is usual between these scans around the structure (another scanner
            or contrast phase lowers both); None likewise.
        inside: distance of the intensities inside the box from those of the most similar template (see ``intensity``),
            0 to 1; None where they are not known.
        match_mm: cycle consistency: mean distance, in the templates, between each landmark and the one that the
            candidate's features match best (0: each landmark matches itself).
        position_mm: RDR offset between a landmark's latent position in the templates and the one read at its place in
            the scan.
        fit_mm: see ``Candidate``.
        moved_mm: distance of the refined places from the first answer.
        vote_spread_mm: spread of the first answer, see ``Candidate.spread_mm``.
        disagreement_mm: mean absolute distance of the templates' faces from those they agree on; None with one
            template.
        in_view: share of the located box that was scanned, 0 to 1.
        votes_in_view: share of the landmarks that the first answer places inside the scan, 0 to 1.
        edge_mm: distance of the located box from the edge of the scan nearest to it; negative where it reaches beyond.
    """

    similarity: float
    likeness: float
    surface: float | None
    contrast: float | None
    support: float | None
    relative: float | None
    inside: float | None
    match_mm: float
    position_mm: float
    fit_mm: float | None
    moved_mm: float
    vote_spread_mm: float
    disagreement_mm: float | None
    in_view: float
    votes_in_view: float
    edge_mm: float

    def to_dict(self) -> dict[str, float]:
        """Name to number, those without a value left out."""
        return {name: float(value) for name, value in vars(self).items() if value is not None}


def share_in_view(box: Box, view: View) -> float:
    """Compute the share of a box's volume that was scanned, 0 to 1; all places are LPS mm."""
    try:
        common = box.intersection(Box(tuple(view[0]), tuple(view[1])))
    except GeometryError:
        return 0.0
    return common.volume / box.volume if common and box.volume > 0 else 0.0


def collect_evidence(
    embedding: ScanEmbedding,
    templates: Sequence[StructureTemplate],
    candidate: Candidate,
    box: Box,
    contrast: float | None = None,
) -> Evidence:
    """Compute the evidence for one localization.

    Args:
        embedding: the scan.
        templates: the templates of the structure.
        candidate: as the search found it.
        box: the candidate's box after the probe, LPS mm.
        contrast: see ``Evidence``.
    """
    count = min(LATTICE.stop, candidate.points.shape[1])
    middle = np.median(candidate.points[:, :count], axis=0)
    masked = _masked(templates, candidate)
    # Read in one call, with the places beside the faces.
    surface = candidate.points[masked, FACES].reshape(-1, 3)
    latents, features = (
        part.split([count, len(surface)]) for part in embedding.read(np.concatenate([middle, surface]))
    )
    likeness, match = _match(features[0], templates, count)
    known = torch.from_numpy(np.stack([s.latents[:count] for s in templates]))
    off = predicted_offset(latents[0][None], known, embedding.range_mm).norm(dim=-1)
    faces, (low, high) = candidate.faces, embedding.view
    votes = np.median(candidate.coarse, axis=0)
    return Evidence(
        similarity=candidate.similarity,
        likeness=likeness,
        surface=_surface(features[1], [templates[i] for i in masked]),
        contrast=contrast,
        support=None if candidate.supports is None else float(candidate.supports.mean()),
        relative=None if candidate.common is None else likeness - candidate.common,
        inside=intensity_distance(embedding, templates, box),
        match_mm=match,
        position_mm=float(off.median(dim=0).values.mean()),
        fit_mm=candidate.fit_mm,
        moved_mm=float(np.linalg.norm(votes - middle[: len(votes)], axis=-1).mean()),
        vote_spread_mm=candidate.spread_mm,
        disagreement_mm=None if len(faces) < 2 else float(np.abs(faces - candidate.box.faces).mean()),
        in_view=share_in_view(box, embedding.view),
        votes_in_view=float(((votes > low) & (votes < high)).all(axis=-1).mean()),
        edge_mm=float(min((np.asarray(box.min) - low).min(), (high - np.asarray(box.max)).min())),
    )


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    """Compute the mean cosine of the three scales of stacked unit features (..., F)."""
    return (one * other).sum(dim=-1) / _SCALES


def _match(features: Tensor, templates: Sequence[StructureTemplate], count: int) -> tuple[float, float]:
    """Compute ``likeness`` and ``match_mm`` from the features (Q, F) at the candidate's landmarks."""
    likeness, distance = [], []
    for template in templates:
        score = features @ torch.from_numpy(template.features[:count]).T / _SCALES
        chosen = torch.softmax(score / _MATCH_TEMPERATURE, dim=1)
        places = torch.from_numpy(template.points[:count])
        distance.append(float((chosen * torch.cdist(places, places)).sum(dim=1).mean()))
        likeness.append(float(score.diagonal().mean()))
    return float(np.mean(likeness)), float(np.mean(distance))


def _masked(templates: Sequence[StructureTemplate], candidate: Candidate) -> list[int]:
    """List the templates with places beside the faces; the paper's search and marks without a mask have none."""
    if candidate.points.shape[:2] != (len(templates), FACES.stop):
        return []
    return [i for i, template in enumerate(templates) if template.shape.size]


def _surface(features: Tensor, masked: Sequence[StructureTemplate]) -> float | None:
    """Compute ``surface`` from the features beside the faces; None where no template has any."""
    if not masked:
        return None
    own = torch.from_numpy(np.concatenate([template.features[FACES] for template in masked]))
    return float(_cosine(features, own).mean())
