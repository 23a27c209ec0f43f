"""Where a structure's landmarks are before any window is searched.

By the alignment of each template's whole scan with this one, where the network gives features to align scans by; else
by coarse votes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.alignment import STEP_MM, Alignment, align
from medlsam.localize.search.votes import coarse_consensus
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.landmarks import FACES
from medlsam.localize.templates.template_set import StructureTemplate


@dataclass(frozen=True, eq=False)
class FirstAnswer:
    """Where one structure's landmarks are before any window is searched; see ``Candidate``.

    Attributes:
        source: (S, P, 3) mm: what the fits of scale and shift start from, one for each template: its landmarks as the
            alignment maps them, or as they lie in the template where only votes place them.
        places: (S, Q, 3) LPS mm: the extreme points and the lattice, as many as say where the structure is.
        spread_mm: see ``Candidate``.
        supports: (S,) likewise.
        common: likewise.
    """

    source: NDArray[np.float64]
    places: NDArray[np.float64]
    spread_mm: float
    supports: NDArray[np.float64] | None
    common: float | None


def first_answers(
    embedding: ScanEmbedding, groups: list[tuple[StructureTemplate, ...]], anchors: Mapping[str, Anchors]
) -> list[FirstAnswer]:
    """Place each structure's landmarks by the alignment of its templates' scans, or by votes where there is none.

    Args:
        embedding: the scan.
        groups: each structure's templates.
        anchors: of the templates' scans, by template; those without are placed by votes.

    Returns:
        One for each structure.
    """
    alignments = _aligned(embedding, {s.template for group in groups for s in group}, anchors)
    # The places beside a face say where the face is, not where the structure is: they come last.
    frame = slice(0, FACES.start)
    alone = [s for group in groups for s in group if s.template not in alignments]
    by_votes = _voted(embedding, [s.latents[frame] for s in alone])
    answers = []
    for group in groups:
        source, placed, spread, fits = [], [], [], []
        for template in group:
            points = template.points.astype(np.float64)
            if template.template in alignments:
                fit = alignments[template.template].around(np.asarray(template.box.center))
                fits.append(fit)
                points = fit.apply(points)
                found, off = points[frame], fit.off_mm
            else:
                found, off = next(by_votes)
            source.append(points)
            placed.append(found)
            spread.append(off)
        whole = len(fits) == len(group)
        answers.append(
            FirstAnswer(
                source=np.stack(source),
                places=np.stack(placed),
                spread_mm=float(np.mean(spread)),
                supports=np.array([fit.support for fit in fits]) if whole else None,
                common=float(np.mean([fit.similarity for fit in fits])) if whole else None,
            )
        )
    return answers


def _aligned(
    embedding: ScanEmbedding, templates: Iterable[str], anchors: Mapping[str, Anchors]
) -> dict[str, Alignment]:
    """Align the scan with those templates' scans that have anchors."""
    wanted = sorted(set(templates) & set(anchors))
    lattice = embedding.body_lattice(STEP_MM) if wanted else None
    if lattice is None:
        return {}
    found = {template: align(anchors[template], lattice) for template in wanted}
    return {template: alignment for template, alignment in found.items() if alignment is not None}


def _voted(
    embedding: ScanEmbedding, latents: Sequence[NDArray[np.float32]]
) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Yield the coarse votes' places (Q, 3) LPS mm, and their spread in mm, of each of some (Q, 3) latent positions."""
    if latents:
        sizes = [len(own) for own in latents]
        votes, spread = coarse_consensus(embedding, torch.from_numpy(np.concatenate(latents)))
        for points, off in zip(votes.split(sizes), spread.split(sizes), strict=True):
            yield points.double().numpy(), float(off.mean())
