"""Structures in several parts under one label, located and segmented with what ships."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import medlsam
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.measure.metrics import dice
from medlsam.phantoms import Phantom, phantom
from medlsam.pipeline.model import MedLSAM
from medlsam.volume import LabelMap
from medlsam.volume.components import large_components

PAIRS = {"kidneys": ("kidney_left", "kidney_right"), "lungs": ("lung_left", "lung_right")}
HEIGHTS = {"kidneys": (250.0, 460.0), "lungs": (385.0, 670.0)}


@pytest.fixture(scope="module")
def model() -> MedLSAM:
    return medlsam.load(device="cpu", precision="float32")


def joined(made: Phantom, names: Sequence[str]) -> LabelMap:
    values = [value for value, name in made.names.items() if name in names]
    return LabelMap(np.isin(made.labels.array, values).astype(np.uint8), made.labels.grid)


def templates_of(model: MedLSAM, pair: str, names: Sequence[str]) -> TemplateSet:
    made = [phantom(seed, (5.0, 5.0, 5.0), HEIGHTS[pair]) for seed in (1, 2, 3)]
    scans = [Template(f"person {n}", own.image, joined(own, names)) for n, own in enumerate(made)]
    return build_templates(model.localizer, scans, {1: pair}, calibrate=False)


@pytest.mark.parametrize("pair", PAIRS)
def test_both_parts_are_kept(model: MedLSAM, pair: str) -> None:
    templates = templates_of(model, pair, PAIRS[pair])
    made = phantom(11, (4.0, 4.0, 3.0), HEIGHTS[pair])
    truth = joined(made, PAIRS[pair]).array == 1
    assert len(large_components(truth)) == 2
    result = model.segment(made.image, templates, case="whole")
    structure = result.localization.structures[pair]
    assert structure.parts == len(structure.part_shapes) == 2
    found = result.labels.array == 1
    assert len(large_components(found, 0.0)) == 2
    for side in large_components(truth):
        assert dice(found & _around(side), side) > 0.7
    largest = model.segment(made.image, templates, case="whole", components="largest").labels.array == 1
    assert len(large_components(largest, 0.0)) == 1
    assert largest.sum() < 0.7 * found.sum()


def test_templates_in_one_part_keep_one(model: MedLSAM) -> None:
    templates = templates_of(model, "kidneys", ("kidney_left",))
    made = phantom(11, (4.0, 4.0, 3.0), HEIGHTS["kidneys"])
    result = model.segment(made.image, templates, case="whole")
    assert result.localization.structures["kidneys"].parts == 1
    found = result.labels.array == 1
    assert len(large_components(found, 0.0)) == 1
    assert dice(found, joined(made, ("kidney_left",)).array == 1) > 0.7
    largest = model.segment(made.image, templates, case="whole", components="largest")
    np.testing.assert_array_equal(result.labels.array, largest.labels.array)


def test_given_boxes_have_parts_too(model: MedLSAM) -> None:
    templates = templates_of(model, "kidneys", PAIRS["kidneys"])
    made = phantom(11, (4.0, 4.0, 3.0), HEIGHTS["kidneys"])
    truth = joined(made, PAIRS["kidneys"])
    boxes = {"kidneys": medlsam.geometry.mask_box(truth.array == 1, truth.grid)}
    result = model.segment(made.image, templates, boxes=boxes)
    assert len(large_components(result.labels.array == 1, 0.0)) == 2
    assert dice(result.labels.array == 1, truth.array == 1) > 0.7


def _around(side: np.ndarray) -> np.ndarray:
    """The half of the scan, left or right, that holds a part."""
    middle = side.shape[2] // 2
    half = np.zeros_like(side)
    if np.flatnonzero(side.any(axis=(0, 1))).mean() < middle:
        half[:, :, :middle] = True
    else:
        half[:, :, middle:] = True
    return half
