"""Templates and a scan's embedding to located structures: coarse consensus, refinement, box, status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Box, ExtremePoints
from medlsam.localize.confidence.evidence import weigh
from medlsam.localize.confidence.status import judge
from medlsam.localize.medlam.search import averaged_answers, averaged_slabs
from medlsam.localize.protocol import Seen
from medlsam.localize.search.candidate import Answer
from medlsam.localize.search.consensus import SearchOptions, consensus, consensus_slabs
from medlsam.localize.search.probe_trust import along_axes, follow
from medlsam.localize.search.votes import random_starts
from medlsam.localize.templates.shape import mean_profile, mean_shape
from medlsam.localize.templates.template_set import (
    DEFAULT_REACH,
    OrganCalibration,
    OrganSupport,
    TemplateSet,
)
from medlsam.results import LocatedOrgan
from medlsam.runtime.blas_threads import one_blas_thread

Search = Literal["consensus", "random-start"]


@one_blas_thread()
def locate(
    embedding: Seen,
    templates: TemplateSet,
    organs: Iterable[str] | None = None,
    search: str = "consensus",
    generator: torch.Generator | None = None,
    options: SearchOptions | None = None,
    slabs: bool = False,
) -> dict[str, LocatedOrgan]:
    """Find the templates' structures in a scan.

    Args:
        embedding: the scan, from the localizer that made the templates.
        templates: what to look for.
        organs: only these; all where None.
        search: ``consensus``, or ``random-start`` for the paper's own inference.
        generator: for ``random-start``; seeded with 0 where None.
        options: of the consensus.
        slabs: also locate the slabs that SPL prompts need.

    Returns:
        Structure name to answer, in the templates' order.

    Raises:
        UsageError: unknown ``search``.
        TemplateError: unknown structure, or an empty set.
    """
    if search not in ("consensus", "random-start"):
        raise UsageError(f"search must be 'consensus' or 'random-start', got {search!r}")
    options = options or SearchOptions()
    if search == "random-start" or not options.windows_mm:
        options = replace(options, probe=False)
    chosen = templates.select(organs) if organs is not None else templates
    if not chosen.organs:
        raise TemplateError("the template set holds no structure")
    groups = [chosen.supports[name] for name in chosen.organs]
    if search == "consensus":
        answers = consensus(embedding, groups, options)
    else:
        generator = generator or torch.Generator().manual_seed(0)
        starts = random_starts(embedding, generator)
        window = (options.paper_window_mm, options.temperature)
        answers = averaged_answers(embedding, groups, starts, *window)
    located = {}
    for name, group, answer in zip(chosen.organs, groups, answers, strict=True):
        boxes: tuple[Box, ...] = ()
        if slabs and search == "consensus":
            boxes = consensus_slabs(embedding, group, answer, options)
        elif slabs:
            boxes = averaged_slabs(embedding, group, starts, *window)
        located[name] = _conclude(
            embedding, name, group, answer, boxes, chosen.calibration.get(name), options
        )
    return located


def _conclude(
    embedding: Seen,
    name: str,
    supports: tuple[OrganSupport, ...],
    answer: Answer,
    slabs: tuple[Box, ...],
    calibration: OrganCalibration | None,
    options: SearchOptions,
) -> LocatedOrgan:
    """The supports' answers to one answer: what they agree on, how well, status."""
    box, contrast = answer.box, None
    if options.probe:
        reaches = calibration.reach if calibration else DEFAULT_REACH
        faces, contrast = follow(embedding, supports, box, reaches)
        box = Box.from_faces(along_axes(faces, reaches))
    verdict = judge(weigh(embedding, supports, answer, box, contrast), box, calibration)
    extremes = np.median(answer.points[:, :6], axis=0)
    extremes[np.arange(6), np.arange(6) // 2] = box.faces
    return LocatedOrgan(
        name=name,
        status=verdict.status,
        confidence=verdict.confidence,
        expected_error_mm=verdict.expected_error_mm,
        points=ExtremePoints(tuple(tuple(p) for p in extremes)),
        box=box,
        prompt_box=box.expand(verdict.margin_mm),
        slabs=slabs,
        profile=mean_profile(supports),
        shape_prior=mean_shape(supports),
        details=verdict.details,
    )
