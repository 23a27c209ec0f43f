"""The parts of a template's mask, and their mean over templates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from medlsam.geometry import Grid, mask_box
from medlsam.localize.templates.parts import mean_parts, read_parts, usual_parts
from medlsam.localize.templates.shape import pooled_hu
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from tests.localize.templates.test_template_set import structure_template

GRID = Grid((10, 12, 20), (2.0, 1.0, 3.0), (5.0, -7.0, 40.0))
LEFT, RIGHT = np.s_[2:8, 2:6, 1:5], np.s_[4:9, 3:10, 12:18]


def two_parts(first: tuple[slice, ...] = LEFT, second: tuple[slice, ...] = RIGHT) -> np.ndarray:
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[first] = mask[second] = True
    return mask


def template(name: str, mask: np.ndarray) -> StructureTemplate:
    boxes, profiles = read_parts(mask, GRID, mask_box(mask, GRID))
    hu = np.linspace(0, 18, 19, dtype=np.float32)
    return replace(structure_template(name, 1), hu=hu, part_boxes=boxes, part_profiles=profiles)


def test_parts_lie_in_fractions_of_the_box() -> None:
    boxes, profiles = read_parts(two_parts(), GRID, mask_box(two_parts(), GRID))
    # The right one is larger. The whole is 17 x 8 x 7 voxels.
    np.testing.assert_allclose(boxes[0], [[11 / 17, 1 / 8, 2 / 7], [1, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(boxes[1], [[0, 0, 0], [4 / 17, 4 / 8, 6 / 7]], atol=1e-6)
    assert profiles.shape == (2, 32, 5)
    np.testing.assert_allclose(profiles[:, :, 1:], [[[0, 0, 1, 1]] * 32] * 2, atol=1e-6)


def test_one_part_and_stray_voxels_are_no_parts() -> None:
    mask = two_parts(second=LEFT)
    assert template("p", mask).parts == 1
    mask[9, 11, 19] = True
    assert template("p", mask).parts == 1
    assert len(read_parts(mask, GRID, mask_box(mask, GRID))[0]) == 0


def test_half_of_the_templates_are_enough() -> None:
    several, one = template("a", two_parts()), template("b", two_parts(second=LEFT))
    assert [usual_parts(group) for group in ([one], [several, one], [several, one, one])] == [1, 2, 1]
    assert mean_parts([several, one, one]) == ()


def test_parts_are_matched_by_place_and_averaged() -> None:
    # In the second one the left part is the larger one, and lies one voxel lower.
    other = two_parts(np.s_[1:7, 0:11, 1:5], np.s_[4:9, 3:10, 12:18])
    templates = [template("a", two_parts()), template("b", other)]
    right, left = mean_parts(templates)
    low = [
        np.mean([own.part_boxes[k, 0] for own, k in zip(templates, order, strict=True)], axis=0)
        for order in ((0, 1), (1, 0))
    ]
    np.testing.assert_allclose([right.low, left.low], low, atol=1e-6)
    assert left.high[0] < 0.3 < 0.6 < right.low[0]
    box = mask_box(two_parts(), GRID)
    assert left.box_in(box).min[0] == pytest.approx(box.min[0])
    assert not right.profile.flags.writeable


def test_files_keep_parts_and_hu_and_older_ones_have_neither(tmp_path: Path) -> None:
    templates = [template("a", two_parts()), template("b", two_parts(second=LEFT))]
    path = tmp_path / "t.medlsam"
    TemplateSet({"kidneys": 1}, {"kidneys": tuple(templates)}, "abc").save(path)
    tensors = load_file(path)
    assert {key for key in tensors if "part" in key} == {"0.0.part_boxes", "0.0.part_profiles"}
    again = TemplateSet.load(path).by_structure["kidneys"]
    assert [own.parts for own in again] == [2, 1]
    np.testing.assert_array_equal(again[0].part_boxes, templates[0].part_boxes)
    np.testing.assert_array_equal(again[0].part_profiles, templates[0].part_profiles)
    assert pooled_hu(again)[:3] == (0.0, 0.0, 1.0)
    head = path.read_bytes()
    about = json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])["__metadata__"]
    save_file({k: v for k, v in tensors.items() if "part_" not in k and not k.endswith(".hu")}, path, about)
    older = TemplateSet.load(path).by_structure["kidneys"]
    assert [own.parts for own in older] == [1, 1]
    assert pooled_hu(older) == ()
