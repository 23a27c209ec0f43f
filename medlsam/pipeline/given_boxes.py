"""Boxes that somebody drew or moved, in place of those of the localizer: the next steps see no difference.

The templates still give each structure its profile, its mean shape and its label value. A given box is ``found`` with
confidence 1 (``details`` say ``given``): a person vouches for it, and nothing was measured, so there is no expected
error. It has no extreme points and no slabs, which only locating gives: ``spl`` prompts fall back to one box on all
slices.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box
from medlsam.localize.templates.parts import mean_parts
from medlsam.localize.templates.shape import mean_profile, mean_shape, pooled_hu
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.option_fields import near
from medlsam.results import Localization, LocatedStructure, Status
from medlsam.volume import Image


def given_localization(
    image: Image,
    boxes: Mapping[str, Box],
    templates: TemplateSet,
    case: str,
    structures: Iterable[str] | None = None,
    out_of_view: Collection[str] = (),
) -> Localization:
    """Take given boxes for the places of the templates' structures.

    Args:
        image: the scan.
        boxes: structure to box, LPS mm; a box may reach beyond the scan.
        templates: from ``MedLSAM.templates``.
        case: the scan's name.
        structures: only these of the templates'; boxes of others are left out.
        out_of_view: of the structures without a box, those that the scan does not reach; the others are missing.

    Raises:
        UsageError: a box of a structure that no template has.
        GeometryError: a box without extent, or outside of the scan.
        TemplateError: ``structures`` names one that is not in the templates.
    """
    for name in boxes:
        if name not in templates.by_structure:
            raise UsageError(
                f"{case}: a box is given for {name!r}{near(name, templates.structures)}, but no template has that; "
                f"there are: {', '.join(templates.structures)}"
            )
    chosen = templates if structures is None else templates.select(structures)
    located = {}
    for name in chosen.structures:
        if name in boxes:
            _check(boxes[name], name, image, case)
            group = chosen.by_structure[name]
            located[name] = LocatedStructure(
                name,
                "found",
                1.0,
                box=boxes[name],
                prompt_box=boxes[name],
                profile=mean_profile(group),
                shape_prior=mean_shape(group),
                details={"given": 1.0},
                hu=pooled_hu(group),
                part_shapes=mean_parts(group),
            )
        else:
            status: Status = "out_of_view" if name in out_of_view else "missing"
            located[name] = LocatedStructure(name, status, 0.0, details={"given": 0.0})
    return Localization(case, located, image)


def _check(box: Box, name: str, image: Image, case: str) -> None:
    if min(box.size) <= 0:
        raise GeometryError(f"{case}: the box of {name} has no extent: {_text(box)}; draw it anew")
    if box.intersection(image.grid.box) is None:
        raise GeometryError(
            f"{case}: the box of {name} lies outside of the scan: {_text(box)}, but the scan reaches "
            f"{_text(image.grid.box)} (LPS mm); is it of another scan, or were RAS coordinates given as LPS?"
        )


def _text(box: Box) -> str:
    low, high = np.round(box.min, 1).tolist(), np.round(box.max, 1).tolist()
    return f"from {low} to {high}"
