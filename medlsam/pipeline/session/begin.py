"""Begin a session: from a finished segmentation, from templates, or with nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medlsam.errors import GeometryError
from medlsam.localize.templates.parts import mean_parts
from medlsam.localize.templates.shape import mean_profile, mean_shape, pooled_hu
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.pipeline.scan import open_scan
from medlsam.pipeline.session.session import Session
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image, LabelMap

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM


def begin(
    model: MedLSAM,
    scan: Image | str | Path,
    templates: TemplateSet | None,
    segmentation: Segmentation | None,
    overrides: Mapping[str, Any],
) -> Session:
    """Begin a session; see ``MedLSAM.session``.

    Raises:
        GeometryError: the segmentation lies on another grid than the scan.
        MedlsamError: as ``MedLSAM.segment``.
    """
    options = model.options_of(None, **overrides)
    image, case = open_scan(scan, Stopwatch())
    if templates is not None:
        model.check(templates)
    if segmentation is not None:
        if not segmentation.labels.grid.matches(image.grid):
            raise GeometryError(
                f"{case}: the segmentation {segmentation.case} lies on another grid: {segmentation.labels.grid}, "
                f"the scan has {image.grid}"
            )
        start = replace(segmentation, image=image)
    elif templates is not None:
        start = model.segment(image, templates, case=case, **overrides)
    else:
        nothing = LabelMap(np.zeros(image.array.shape, np.uint8), image.grid, image.source)
        start = Segmentation(case, nothing, {}, Localization(case, {}, image), image=image)
    known = {} if templates is None else {name: _known(templates, name) for name in templates.structures}
    return Session(start, model.segmenter_for(templates), known, options.prompt)


def _known(templates: TemplateSet, name: str) -> LocatedStructure:
    """What templates know of a structure wherever it is."""
    group = templates.by_structure[name]
    return LocatedStructure(
        name,
        "found",
        1.0,
        profile=mean_profile(group),
        shape_prior=mean_shape(group),
        hu=pooled_hu(group),
        part_shapes=mean_parts(group),
    )
