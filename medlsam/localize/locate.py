"""Locate the structures of a template set in an embedded scan: search, probe, box, status."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from medlsam.errors import TemplateError
from medlsam.geometry import Box, ExtremePoints
from medlsam.localize.confidence.evidence import collect_evidence
from medlsam.localize.confidence.status import classify
from medlsam.localize.medlam.search import averaged_candidates, averaged_slabs
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.consensus import consensus, consensus_slabs
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.search.probe_trust import along_axes, apply_probe
from medlsam.localize.search.votes import random_starts
from medlsam.localize.templates.parts import mean_parts
from medlsam.localize.templates.shape import mean_profile, mean_shape, pooled_hu
from medlsam.localize.templates.template_set import (
    DEFAULT_TRUST,
    StructureCalibration,
    StructureTemplate,
    TemplateSet,
)
from medlsam.options import LocateOptions
from medlsam.results import LocatedStructure
from medlsam.runtime.blas_threads import one_blas_thread


@one_blas_thread()
def locate(
    embedding: ScanEmbedding,
    templates: TemplateSet,
    options: LocateOptions | None = None,
    *,
    generator: torch.Generator | None = None,
    slabs: bool = False,
    search_options: SearchOptions | None = None,
) -> dict[str, LocatedStructure]:
    """Find the templates' structures in a scan.

    Args:
        embedding: the scan, from the localizer that made the templates.
        templates: the structures to find.
        options: which structures, and which search; the defaults where None.
        generator: for the search ``random-start``; seeded with the options' seed where None.
        slabs: also locate the slabs that SPL prompts need.
        search_options: constants of the search; the defaults where None.

    Returns:
        Structure name to its location, in the templates' order.

    Raises:
        TemplateError: unknown structure, or an empty set.
    """
    options = options or LocateOptions()
    constants = search_options or SearchOptions()
    if options.search == "random-start" or not constants.windows_mm:
        constants = replace(constants, probe=False)
    chosen = templates if options.organs is None else templates.select(options.organs)
    if not chosen.structures:
        raise TemplateError("the template set holds no structure")
    groups = [chosen.by_structure[name] for name in chosen.structures]
    if options.search == "consensus":
        candidates = consensus(embedding, groups, chosen.anchors, constants)
    else:
        generator = generator or torch.Generator().manual_seed(options.seed)
        starts = random_starts(embedding, generator)
        window = (constants.paper_window_mm, constants.temperature)
        candidates = averaged_candidates(embedding, groups, starts, *window)
    located = {}
    for name, group, candidate in zip(chosen.structures, groups, candidates, strict=True):
        boxes: tuple[Box, ...] = ()
        if slabs and options.search == "consensus":
            boxes = consensus_slabs(embedding, group, candidate, constants)
        elif slabs:
            boxes = averaged_slabs(embedding, group, starts, *window)
        located[name] = _conclude(
            embedding, name, group, candidate, boxes, chosen.calibration.get(name), constants
        )
    return located


def _conclude(
    embedding: ScanEmbedding,
    name: str,
    templates: tuple[StructureTemplate, ...],
    candidate: Candidate,
    slabs: tuple[Box, ...],
    calibration: StructureCalibration | None,
    options: SearchOptions,
) -> LocatedStructure:
    """Turn a candidate into a located structure: apply the probe, collect the evidence, classify."""
    box, contrast = candidate.box, None
    if options.probe:
        trusts = calibration.probe_trust if calibration else DEFAULT_TRUST
        faces, contrast = apply_probe(embedding, templates, box, trusts)
        box = Box.from_faces(along_axes(faces, trusts))
    verdict = classify(collect_evidence(embedding, templates, candidate, box, contrast), box, calibration)
    extremes = np.median(candidate.points[:, :6], axis=0)
    extremes[np.arange(6), np.arange(6) // 2] = box.faces
    return LocatedStructure(
        name=name,
        status=verdict.status,
        confidence=verdict.confidence,
        expected_error_mm=verdict.expected_error_mm,
        points=ExtremePoints(tuple(tuple(p) for p in extremes)),
        box=box,
        prompt_box=box.expand(verdict.margin_mm),
        slabs=slabs,
        profile=mean_profile(templates),
        shape_prior=mean_shape(templates),
        details=verdict.details,
        hu=pooled_hu(templates),
        part_shapes=mean_parts(templates),
    )
