"""Boxes of located structures in the slices of a scan, for a training that has no labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medlsam.pipeline.prompts import slice_prompts
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.pipeline.model import MedLSAM


def located_prompts(model: MedLSAM, templates: TemplateSet) -> Callable[[str, Image], list[SlicePrompt]]:
    """Make a function that locates the templates' structures in a scan and gives one box for each of their slices.

    Args:
        model: the loaded localizer.
        templates: what is looked for.

    Returns:
        Takes a scan's name and the scan on a canonical grid; structures that are not present have no box.
    """

    def boxes(name: str, image: Image) -> list[SlicePrompt]:
        found = model.localize(image, templates, case=name)
        present = [own for own in found.structures.values() if own.present]
        return [prompt for own in present for prompt in slice_prompts(own, image.grid)]

    return boxes
