"""The main job on real CT with the shipped weights: templates, one scan that nobody trained on, masks and geometry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import medlsam
from medlsam.geometry import mask_box
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.measure.metrics import dice

CASE = "openkbp_030"
TEMPLATES = ("openkbp_066", "openkbp_082")

pytestmark = pytest.mark.realdata


def test_a_real_scan_is_segmented(real_ct: Path) -> None:
    folder = real_ct / "openkbp"
    assert CASE in json.loads((folder / "splits.json").read_text())["val"]
    model = medlsam.load(device="cpu")
    templates = model.templates(folder / "templates", organs=["Brainstem", "Mandible"], cases=TEMPLATES)
    image = read_image(folder / "imagesTr" / f"{CASE}_0000.nii.gz")
    result = model.segment(image, templates)
    assert result.labels.grid == image.grid
    truth = read_label_map(folder / "labelsTr" / f"{CASE}.nii.gz")
    names = json.loads((folder / "dataset.json").read_text())["labels"]
    for value, name in result.names.items():
        structure = result.localization.structures[name]
        reference = truth.array == names[name]
        assert structure.status == "found"
        assert structure.box is not None
        # Floors well under what `medlsam evaluate` measures: a broken geometry or weights file falls below them.
        assert structure.box.iou(mask_box(reference, truth.grid)) > 0.35, name
        assert dice(result.labels.array == value, reference) > 0.5, name


def test_a_structure_of_another_region_is_not_claimed_with_confidence(real_ct: Path) -> None:
    """A mandible looked for in an abdomen: whatever the status, the confidence is below that of a real one."""
    folder = real_ct / "openkbp"
    model = medlsam.load(device="cpu")
    templates = model.templates(folder / "templates", organs=["Mandible"], cases=TEMPLATES)
    inside = model.localize(folder / "imagesTr" / f"{CASE}_0000.nii.gz", templates)
    outside = model.localize(real_ct / "body" / "ts_example_ct" / "image.nii.gz", templates)
    assert outside.structures["Mandible"].confidence < inside.structures["Mandible"].confidence


def test_turning_the_scan_turns_the_answer(real_ct: Path) -> None:
    """The same scan stored in another axis order is located at the same place in the patient."""
    folder = real_ct / "openkbp"
    model = medlsam.load(device="cpu")
    templates = model.templates(folder / "templates", organs=["Brainstem"], cases=TEMPLATES)
    image = read_image(folder / "imagesTr" / f"{CASE}_0000.nii.gz")
    grid = image.grid
    # Axes (x, y, z) stored as (z, x, -y): a coronal stack seen from the back.
    array = np.ascontiguousarray(image.array.transpose(1, 2, 0)[::-1])
    matrix = np.asarray(grid.direction).reshape(3, 3)
    columns = np.stack([matrix[:, 2], matrix[:, 0], -matrix[:, 1]], axis=1)
    origin = grid.ijk_to_lps([0, grid.shape_zyx[1] - 1, 0])
    sx, sy, sz = grid.spacing_xyz
    turned_grid = medlsam.Grid(array.shape, (sz, sx, sy), tuple(origin), tuple(columns.ravel()))
    turned = medlsam.Image(array, turned_grid)
    first = model.localize(image, templates).structures["Brainstem"].box
    second = model.localize(turned, templates).structures["Brainstem"].box
    assert first is not None
    assert second is not None
    assert np.abs(first.faces - second.faces).max() < 0.5
