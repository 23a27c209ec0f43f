"""Templates and a scan's embedding to located structures: coarse consensus, refinement, box, status."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from medlsam.errors import TemplateError
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
from medlsam.options import LocateOptions
from medlsam.results import LocatedOrgan
from medlsam.runtime.blas_threads import one_blas_thread


@one_blas_thread()
def locate(
    embedding: Seen,
    templates: TemplateSet,
    options: LocateOptions | None = None,
    *,
    generator: torch.Generator | None = None,
    slabs: bool = False,
    search_options: SearchOptions | None = None,
) -> dict[str, LocatedOrgan]:
    """Find the templates' structures in a scan.

    Args:
        embedding: the scan, from the localizer that made the templates.
        templates: what to look for.
        options: which structures, and which search; the defaults where None.
        generator: for the search ``random-start``; seeded with the options' seed where None.
        slabs: also locate the slabs that SPL prompts need.
        search_options: constants of the search; the defaults where None.

    Returns:
        Structure name to answer, in the templates' order.

    Raises:
        TemplateError: unknown structure, or an empty set.
    """
    options = options or LocateOptions()
    constants = search_options or SearchOptions()
    if options.search == "random-start" or not constants.windows_mm:
        constants = replace(constants, probe=False)
    chosen = templates if options.organs is None else templates.select(options.organs)
    if not chosen.organs:
        raise TemplateError("the template set holds no structure")
    groups = [chosen.supports[name] for name in chosen.organs]
    if options.search == "consensus":
        answers = consensus(embedding, groups, constants)
    else:
        generator = generator or torch.Generator().manual_seed(options.seed)
        starts = random_starts(embedding, generator)
        window = (constants.paper_window_mm, constants.temperature)
        answers = averaged_answers(embedding, groups, starts, *window)
    located = {}
    for name, group, answer in zip(chosen.organs, groups, answers, strict=True):
        boxes: tuple[Box, ...] = ()
        if slabs and options.search == "consensus":
            boxes = consensus_slabs(embedding, group, answer, constants)
        elif slabs:
            boxes = averaged_slabs(embedding, group, starts, *window)
        located[name] = _conclude(
            embedding, name, group, answer, boxes, chosen.calibration.get(name), constants
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
