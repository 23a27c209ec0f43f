"""Templates for segmenting in given boxes with the stub model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medlsam.localize.templates.template_set import TemplateSet
from tests.support.fakes.stub_model import template_set


def bare_templates() -> TemplateSet:
    """Templates of points alone: no profile, no mean shape."""
    made = template_set()
    nothing = {"shape": np.zeros((0, 0, 0), np.uint8), "profile": np.zeros((0, 5), np.float32)}
    return replace(
        made,
        by_structure={
            name: tuple(replace(item, **nothing) for item in group)  # type: ignore[arg-type]
            for name, group in made.by_structure.items()
        },
    )
