"""Clicked templates are the labels' extreme points, and an error moves them."""

from __future__ import annotations

import numpy as np

import medlsam
from benchmarks.localize.points import clicked, drawn_dice
from medlsam.geometry import ExtremePoints
from medlsam.localize.build_templates import Template


def test_points_and_dice_of_a_template() -> None:
    made = medlsam.phantom(1, (6.0, 6.0, 6.0), (300.0, 480.0))
    template = Template("anna", made.image, made.labels)
    exact = clicked(template, made.names, 0.0, 0)
    assert exact.labels is None
    assert exact.points is not None
    (liver,) = (value for value, name in made.names.items() if name == "liver")
    mask = made.labels.array == liver
    np.testing.assert_allclose(
        exact.points["liver"].box.faces, ExtremePoints.from_mask(mask, made.labels.grid).box.faces
    )
    moved = clicked(template, made.names, 3.0, 0)
    assert moved.points is not None
    off = [abs(moved.points[name].box.faces - exact.points[name].box.faces).mean() for name in exact.points]
    assert 1 < np.mean(off) < 6
    drawn = Template("anna", made.image, points=exact.points, drawn={"liver": mask})
    assert drawn_dice(drawn, template, made.names) == {name: float(name == "liver") for name in exact.points}
