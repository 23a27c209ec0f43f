"""Masks for templates of which somebody clicked extreme points only: sam-tiny draws them in the boxes of the points.

A mask says much that six points do not: how the structure lies in its box slice by slice, what its border looks like,
which HU it has. In a box that a person marked, the masks that sam-tiny draws of structures that it knows serve as well
as ones drawn by hand (docs/decisions/viewer/0079-templates-of-points.md). The points stay what they are: they alone
say where the template's structure ends. A mask that does not fill the box of its points is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import ExtremePoints, mask_box
from medlsam.localize.build_templates import Template
from medlsam.localize.templates.outline import outline_of_points
from medlsam.options import InferenceOptions
from medlsam.pipeline.segment import segment_located
from medlsam.results import Localization, LocatedStructure
from medlsam.segment.load import load_segmenter
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.volume import to_canonical

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM

#: IoU of a mask's box and that of its points: below, the mask is of something else, or of a part only.
LEAST_IOU = 0.6
_log = logging.getLogger(__name__)


def drawing_segmenter(model: MedLSAM) -> Segmenter:
    """The segmenter that draws masks in templates.

    Returns:
        The model's own where it is of sam-tiny's kind, also fine-tuned; else the sam-tiny that ships, since a
        whole-slice model would take minutes or hours for the slices of five templates.
    """
    name = model.options.segmenter
    known = model.source is not None and name in SEGMENTERS
    kind = SEGMENTERS[name].kind if known else model.segmenter.spec.kind
    if kind == "crop":
        return model.segmenter
    return load_segmenter("sam-tiny", model.device, precision=model.options.precision)


def with_drawn_masks(
    template: Template, segmenter: Callable[[], Segmenter], organs: Collection[str] | None = None
) -> Template:
    """Draw masks of the structures of a template that has extreme points and no label map.

    Args:
        template: with its image; one with a label map is returned as it is.
        segmenter: gives the segmenter; not called where there is nothing to draw.
        organs: only these structures.

    Returns:
        The template with ``drawn``: structure to its mask on the canonical grid. A structure whose mask does not fill
        the box of its points is left out with a note in the log, and keeps its points.
    """
    drawn: dict[str, NDArray[np.bool_]] = {}
    for name, (mask, share) in draw(template, segmenter, organs).items():
        if share >= LEAST_IOU:
            drawn[name] = mask
        else:
            _log.warning(
                "%s: the mask that sam-tiny draws of %s does not fill the box of its points (IoU %.2f), so the "
                "template has the points alone; look at the points, or draw a label map",
                template.name,
                name,
                share,
            )
    return replace(template, drawn=drawn) if drawn else template


def draw(
    template: Template, segmenter: Callable[[], Segmenter], organs: Collection[str] | None = None
) -> dict[str, tuple[NDArray[np.bool_], float]]:
    """Draw masks, good or not; arguments are those of ``with_drawn_masks``.

    Returns:
        Structure to its mask (Z, Y, X) on the canonical grid, and the IoU of the mask's box and that of its points.
    """
    if template.labels is not None or not template.points:
        return {}
    usable = {
        name: points
        for name, points in template.points.items()
        if (organs is None or name in organs) and _drawable(points, template)
    }
    if not usable:
        return {}
    structures = {name: _given(name, points) for name, points in usable.items()}
    found = segment_located(
        segmenter,
        template.image,
        Localization(template.name, structures, template.image),
        {name: value for value, name in enumerate(usable, start=1)},
        InferenceOptions(),
    )
    labels = to_canonical(found.labels)
    drawn = {}
    for value, (name, points) in enumerate(usable.items(), start=1):
        mask = labels.array == value
        drawn[name] = mask, mask_box(mask, labels.grid).iou(points.box) if mask.any() else 0.0
    return drawn


def _drawable(points: ExtremePoints, template: Template) -> bool:
    """Whether the box has some extent and lies in the scan; what is wrong is said when the templates are built."""
    return min(points.box.size) > 0 and points.box.intersection(template.image.grid.box) is not None


def _given(name: str, points: ExtremePoints) -> LocatedStructure:
    return LocatedStructure(
        name,
        "found",
        1.0,
        points=points,
        box=points.box,
        prompt_box=points.box,
        profile=outline_of_points(points),
        details={"given": 1.0},
    )
