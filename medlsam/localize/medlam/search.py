"""The paper's inference (MedLSAM, section 2.2): templates averaged before the search, one window of MSS."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.geometry import Box
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.votes import Starts
from medlsam.localize.templates.landmarks import EXTREMES
from medlsam.localize.templates.template_set import StructureTemplate


def averaged_candidates(
    embedding: ScanEmbedding,
    groups: list[tuple[StructureTemplate, ...]],
    starts: Starts,
    window_mm: float,
    temperature: float,
) -> list[Candidate]:
    """Locate the mean of each structure's templates, all structures at once.

    Args:
        embedding: the scan.
        groups: each structure's templates.
        starts: shared by all structures.
        window_mm: half width of the window; 0 for the coarse result alone.
        temperature: of the soft arg-max.
    """
    count = len(groups)
    latents = np.concatenate([np.mean([s.latents[EXTREMES] for s in group], axis=0) for group in groups])
    features = np.concatenate([np.mean([s.features[EXTREMES] for s in group], axis=0) for group in groups])
    coarse, spread = starts.offset_to(torch.from_numpy(latents))
    points, similarity = _refined(embedding, features, coarse, window_mm, temperature)
    found = [part.double().numpy().reshape(count, 1, 6, 3) for part in (points, coarse)]
    likeness, vote = (part.reshape(count, -1).mean(dim=1).tolist() for part in (similarity, spread))
    return [Candidate(*parts) for parts in zip(*found, likeness, vote, strict=True)]


def averaged_slabs(
    embedding: ScanEmbedding,
    templates: tuple[StructureTemplate, ...],
    starts: Starts,
    window_mm: float,
    temperature: float,
) -> tuple[Box, ...]:
    """Locate the slabs of SPL prompts, low z first, each by its own six extreme points; none where templates have none.

    Args:
        embedding: the scan.
        templates: of one structure.
        starts: shared by all structures.
        window_mm: half width of the window; 0 for the coarse result alone.
        temperature: of the soft arg-max.
    """
    with_slabs = [s for s in templates if len(s.slab_points)]
    if not with_slabs:
        return ()
    count = min(len(s.slab_points) for s in with_slabs)
    latents = np.mean([s.slab_latents[:count] for s in with_slabs], axis=0).reshape(-1, 3)
    features = np.mean([s.slab_features[:count] for s in with_slabs], axis=0).reshape(6 * count, -1)
    coarse, _ = starts.offset_to(torch.from_numpy(latents))
    points, _ = _refined(embedding, features, coarse, window_mm, temperature)
    faces = points.double().numpy().reshape(count, 6, 3)[:, np.arange(6), np.arange(6) // 2]
    return tuple(Box.from_faces(f) for f in faces)


def _refined(
    embedding: ScanEmbedding,
    features: NDArray[np.float32],
    coarse: Tensor,
    window_mm: float,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Match features in a window: (N, 3) places and (N, 1) similarities; the coarse places where there is no window."""
    if not window_mm:
        return coarse, torch.ones(len(coarse), 1)
    matches = embedding.refine(torch.from_numpy(features)[:, None], coarse, window_mm, temperature)
    return matches.points[:, 0], matches.similarity
