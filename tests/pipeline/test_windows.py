"""From what templates hold to the window that a whole-slice model is shown."""

from __future__ import annotations

from typing import Any

import pytest

from medlsam.geometry import Grid
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import load_localizer
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms import Phantom, phantom
from medlsam.pipeline.model import MedLSAM
from medlsam.segment.registry import SEGMENTERS
from tests.support.fakes.inside_segmenter import Inside
from tests.support.fakes.stub_model import draw_ct, template_set

STRUCTURES = ("lung_left", "liver", "vertebrae")
OWN, LUNG, BONE = None, (-1350.0, 150.0), (-500.0, 1300.0)


@pytest.fixture(scope="module")
def scanned() -> tuple[MedLSAM, TemplateSet, Phantom]:
    """A model with a segmenter of whole slices that notes what it is asked."""
    made = [phantom(seed, (6.0, 6.0, 6.0), "thorax") for seed in (1, 2, 11)]
    localizer = load_localizer("medlam-tiny", "cpu")
    scans = [Template(f"person {n}", own.image, own.labels) for n, own in enumerate(made[:2])]
    templates = build_templates(localizer, scans, made[0].names, STRUCTURES, calibrate=False)
    model = MedLSAM(localizer, Inside(SEGMENTERS["sam_vit_b"]))  # type: ignore[arg-type]
    return model, templates, made[2]


def asked(model: MedLSAM) -> dict[str, set[Any]]:
    """Structure to the windows that it was asked for in, since the last time."""
    segmenter: Any = model.segmenter
    windows: dict[str, set[Any]] = {}
    for call in segmenter.calls:
        for key, prompts in call.items():
            windows.setdefault(key.split("/")[0], set()).update(prompt.window_hu for prompt in prompts)
    segmenter.calls.clear()
    return windows


def test_each_structure_has_the_window_that_suits_it(scanned: tuple[MedLSAM, TemplateSet, Phantom]) -> None:
    model, templates, made = scanned
    model.segment(made.image, templates)
    assert asked(model) == {"lung_left": {LUNG}, "liver": {OWN}, "vertebrae": {BONE}}
    model.segment(made.image, templates, window="model")
    assert asked(model) == {name: {OWN} for name in STRUCTURES}
    model.segment(made.image, templates, window="-200,800")
    assert asked(model) == {name: {(-200.0, 800.0)} for name in STRUCTURES}


def test_given_boxes_have_windows_too(scanned: tuple[MedLSAM, TemplateSet, Phantom]) -> None:
    model, templates, made = scanned
    found = model.localize(made.image, templates).structures
    boxes = {name: own.box for name, own in found.items() if own.box is not None}
    model.segment(made.image, templates, boxes=boxes)
    assert asked(model) == {"lung_left": {LUNG}, "liver": {OWN}, "vertebrae": {BONE}}


def test_a_window_for_a_model_with_its_own_is_a_warning(model: MedLSAM) -> None:
    image = draw_ct(Grid((16, 24, 28), (1.5, 2.0, 2.5)))
    assert not model.segment(image, template_set()).warnings
    (told,) = model.segment(image, template_set(), window=(-500, 1300)).warnings
    assert told.startswith("window: stub-segmenter always looks through")
