"""From a located structure to the prompts of its slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.geometry import Box, Grid
from medlsam.options import PromptOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.pipeline.prompts import effective_prompts, slice_prompts, structure_request
from medlsam.results import Localization, LocatedStructure, PartShape
from tests.support.fakes.stub_model import (
    VALUES,
    draw_ct,
    template_set,
    true_mask,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


def segmenter_of(model: MedLSAM) -> Any:
    return model.segmenter


def structure(**changes: Any) -> LocatedStructure:
    box = Box((10.0, -10.0, 10.0), (30.0, 10.0, 20.0))
    rows = np.array([[0, 0, 0, 0.5, 1], [1, 0, 0, 0.5, 1]], np.float32)
    slabs = (
        Box((10.0, -10.0, 10.0), (20.0, 10.0, 15.0)),
        Box((20.0, -10.0, 15.0), (30.0, 10.0, 20.0)),
    )
    return replace(
        LocatedStructure(
            "organ", "found", 0.9, box=box, prompt_box=box.expand(9.0), profile=rows, slabs=slabs
        ),
        **changes,
    )


def millimetres(prompts: list[Any], grid: Grid) -> dict[float, list[float]]:
    """Slice height to x0, y0, x1, y1, all LPS mm."""
    found = {}
    for prompt in prompts:
        x0, y0, x1, y1 = prompt.box_xyxy
        low, high = grid.ijk_to_lps([[x0, y0, prompt.z], [x1, y1, prompt.z]])
        found[float(low[2])] = [*low[:2].tolist(), *high[:2].tolist()]
    return found


def test_each_kind_of_prompt_in_millimetres() -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    heights = [11.0, 13.0, 15.0, 17.0, 19.0]
    wide = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts="wpl", margin_mm=0.0)), grid)
    assert list(wide) == heights
    assert all(box == pytest.approx([10, -10, 30, 10]) for box in wide.values())
    narrow = millimetres(
        slice_prompts(structure(), grid, PromptOptions(prompts="profile", margin_mm=0.0)), grid
    )
    assert all(box == pytest.approx([10, -10, 20, 10]) for box in narrow.values())
    slabs = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts="spl", margin_mm=0.0)), grid)
    assert slabs[11.0] == pytest.approx([10, -10, 20, 10])
    assert slabs[19.0] == pytest.approx([20, -10, 30, 10])


@pytest.mark.parametrize("prompts", ["wpl", "profile", "spl"])
def test_the_margin_widens_slices_and_adds_none(prompts: str) -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    tight = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts=prompts, margin_mm=0.0)), grid)
    wide = millimetres(slice_prompts(structure(), grid, PromptOptions(prompts=prompts, margin_mm=2.0)), grid)
    assert list(wide) == list(tight)
    assert wide[11.0][0] == pytest.approx(tight[11.0][0] - 2)
    assert wide[11.0][3] == pytest.approx(tight[11.0][3] + 2)


def test_a_replaced_box_moves_the_prompts() -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    other = structure(box=Box((0.0, 0.0, 0.0), (10.0, 4.0, 4.0)))
    found = millimetres(slice_prompts(other, grid, PromptOptions(prompts="profile", margin_mm=0.0)), grid)
    assert found == {1.0: pytest.approx([0, 0, 5, 4]), 3.0: pytest.approx([0, 0, 5, 4])}


@pytest.mark.parametrize("prompts", ["wpl", "profile", "spl"])
def test_each_part_has_boxes_of_its_own(prompts: str) -> None:
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    rows = np.array([[0, 0, 0.5, 1, 1], [1, 0, 0.5, 1, 1]], np.float32)
    parts = (PartShape((0, 0, 0), (0.25, 1, 0.6), rows), PartShape((0.75, 0, 0.4), (1, 0.5, 1), rows))
    options = PromptOptions(prompts=prompts, margin_mm=0.0)
    found = slice_prompts(structure(part_shapes=parts), grid, options)
    assert sorted({prompt.part for prompt in found}) == [0, 1]
    left, right = (millimetres([p for p in found if p.part == part], grid) for part in (0, 1))
    first = 0.0 if prompts == "profile" else -10.0  # the profile's lower half
    assert left == {z: pytest.approx([10, first, 15, 10]) for z in (11.0, 13.0, 15.0)}
    first = -5.0 if prompts == "profile" else -10.0
    assert right == {z: pytest.approx([25, first, 30, 0]) for z in (15.0, 17.0, 19.0)}


def test_the_other_planes_have_boxes_for_each_part() -> None:
    prior = np.ones((32, 32, 32), np.float32)
    rows = np.array([[0, 0, 0, 1, 1]], np.float32)
    parts = (PartShape((0, 0, 0), (0.25, 1, 1), rows), PartShape((0.75, 0, 0), (1, 1, 1), rows))
    options = PromptOptions(axes="three", margin_mm=0.0)
    grid = Grid((20, 40, 40), (1.0, 1.0, 2.0), (0.0, -20.0, 1.0))
    request = structure_request(structure(part_shapes=parts, shape_prior=prior), grid, options)
    sagittal = {part: [p.z for p in request.sides["sagittal"] if p.part == part] for part in (0, 1)}
    assert sagittal == {0: list(range(10, 16)), 1: list(range(25, 31))}
    assert {p.part for p in request.sides["coronal"]} == {0, 1}
    assert all(p.part == 0 for own in (structure_request(structure(), grid, options),) for p in own.prompts)


def test_prompts_fall_back_and_say_so(model: MedLSAM) -> None:
    assert effective_prompts(structure(), "profile") == "profile"
    assert effective_prompts(structure(profile=None), "profile") == "spl"
    assert effective_prompts(structure(profile=None, slabs=()), "profile") == "wpl"
    assert effective_prompts(structure(slabs=()), "spl") == "wpl"
    image = draw_ct(GRID)
    found = model.localize(image, template_set())
    poor = {name: replace(o, profile=None) for name, o in found.structures.items()}
    result = model.segment_located(image, replace(found, structures=poor), VALUES)
    assert result.warnings == tuple(
        f"{name}: the templates hold nothing for profile prompts; used wpl" for name in ("block", "plate")
    )
    np.testing.assert_array_equal(result.labels.array == 1, true_mask(image, "block"))


def test_slabs_are_located_for_slab_prompts_only(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    assert model.segment(image, template_set(), prompts="spl").localization.structures["block"].slabs
    assert not model.segment(image, template_set()).localization.structures["block"].slabs


def test_a_box_outside_of_the_scan_is_a_warning(model: MedLSAM) -> None:
    far = LocatedStructure("block", "uncertain", 0.2, box=Box((900.0, 900.0, 900.0), (910.0, 910.0, 910.0)))
    result = model.segment_located(draw_ct(GRID), Localization("case", {"block": far}), VALUES, prompts="wpl")
    assert result.warnings == ("block: the located box lies outside of the scan; not segmented",)
    assert segmenter_of(model).calls == []


def test_a_structure_without_a_box_has_no_prompts() -> None:
    with pytest.raises(UsageError, match="organ is missing"):
        slice_prompts(structure(box=None, status="missing"), GRID)


def test_prompt_options_reach_the_segmenter(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    plain = model.segment(image, template_set(), margin_mm=0.0, propagate=False)
    (asked,) = segmenter_of(model).calls
    changes = {"shrink": 0.5, "center_point": True, "zoom": 2.0, "axes": "three", "shape_prompt": True}
    changes |= {"margin_mm": 0, "propagate": False}
    located = model.localize(image, template_set())
    shapes = {
        n: replace(o, shape_prior=np.ones((2, 2, 2), np.float32)) for n, o in located.structures.items()
    }
    segmenter_of(model).calls.clear()
    found = model.segment_located(image, replace(located, structures=shapes), VALUES, **changes)
    axial, coronal, sagittal = segmenter_of(model).calls
    for before, after in zip(asked["block"], axial["block"], strict=True):
        assert after.z == before.z
        assert after.box_xyxy[2] - after.box_xyxy[0] == pytest.approx(
            (before.box_xyxy[2] - before.box_xyxy[0]) / 2
        )
        assert after.point_xy is not None
        assert after.view_xyxy is not None
    assert {p.z for p in coronal["block"]} == set(range(6, 12))
    assert {p.z for p in sagittal["block"]} == set(range(5, 11))
    mask_prompt = segmenter_of(model).mask_prompts[-3]["block"]
    assert (mask_prompt.origin_zyx, mask_prompt.probability.shape) == ((4, 6, 5), (5, 6, 6))
    assert found.warnings == (
        "zoom: stub-segmenter always looks at crops around the boxes, as large as its weights want them",
    )
    assert plain.warnings == ()


def test_a_mean_shape_that_is_not_there_is_told(model: MedLSAM) -> None:
    found = model.segment(draw_ct(GRID), template_set(), shape_prompt=True)
    assert found.warnings == tuple(
        f"{name}: the templates hold no mean shape; segmented without shape_prompt"
        for name in ("block", "plate")
    )


def test_propagation_starts_from_what_the_slices_say(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    found = model.segment(image, template_set(), organs=["block"], propagate=True)
    np.testing.assert_array_equal(found.labels.array == 1, true_mask(image, "block"))
    steps = [set(call) for call in segmenter_of(model).calls[1:]]
    # all slices are equally certain: the first is taken, and there are four above it
    assert steps == [{"block/+1"}] * 4
