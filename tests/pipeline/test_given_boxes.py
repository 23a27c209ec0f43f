"""Segmenting in boxes that somebody gives: the same as in boxes that were located, without locating."""

from __future__ import annotations

import numpy as np
import pytest

import medlsam
from medlsam.errors import GeometryError, TemplateError, UsageError
from medlsam.export.slicer_markups import write_markups
from medlsam.geometry import Box, Grid
from medlsam.io.slicer_markups import read_boxes
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import Localizer
from medlsam.localize.templates.shape import mean_profile, mean_shape
from medlsam.pipeline.given_boxes import given_localization
from medlsam.pipeline.model import MedLSAM
from medlsam.volume import LabelMap
from tests.support.bare_templates import bare_templates
from tests.support.fakes.stub_model import SIGNATURE, draw_ct, template_set, true_mask

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


def box_of(image, name: str) -> Box:
    return medlsam.geometry.mask_box(true_mask(image, name), image.grid)


def test_no_localizer_runs(model: MedLSAM, monkeypatch: pytest.MonkeyPatch) -> None:
    def embed(*_: object) -> None:
        raise AssertionError("the localizer ran")

    monkeypatch.setattr(model.localizer, "embed", embed)
    image = draw_ct(GRID)
    found = model.segment(image, bare_templates(), boxes={"block": box_of(image, "block")}, prompts="wpl")
    np.testing.assert_array_equal(found.labels.array == 1, true_mask(image, "block"))
    assert set(np.unique(found.labels.array)) == {0, 1}
    block, plate = (found.localization.structures[name] for name in ("block", "plate"))
    assert (block.status, block.confidence, block.expected_error_mm) == ("found", 1.0, None)
    assert block.details == {"given": 1.0}
    assert (block.points, block.slabs) == (None, ())
    assert (plate.status, plate.box) == ("missing", None)
    assert found.names == {1: "block", 7: "plate", 300: "ghost"}
    assert found.warnings == ()


def test_only_the_structures_asked_for(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    boxes = {name: box_of(image, name) for name in ("block", "plate")}
    found = model.segment(image, bare_templates(), boxes=boxes, organs=["plate"], prompts="wpl")
    assert found.names == {7: "plate"}
    assert set(np.unique(found.labels.array)) == {0, 7}


def test_slabs_are_no_part_of_a_box(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    found = model.segment(
        image, bare_templates(), boxes={"block": box_of(image, "block")}, prompts="spl", organs=["block"]
    )
    assert found.warnings == ("block: a given box has nothing for spl prompts; used wpl",)


@pytest.mark.parametrize(
    ("boxes", "kind", "words"),
    [
        (
            {"blok": Box((0, 0, 0), (9, 9, 9))},
            UsageError,
            "'blok' .did you mean 'block'.*block, plate, ghost",
        ),
        ({"block": Box((20, 0, 9), (20, 9, 12))}, GeometryError, "block has no extent: from .20.0, 0.0, 9.0"),
        ({"block": Box((-90, -90, 9), (-50, -50, 12))}, GeometryError, "outside of the scan.*RAS"),
    ],
)
def test_boxes_that_fit_nothing(model: MedLSAM, boxes: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        model.segment(draw_ct(GRID), bare_templates(), boxes=boxes)


def test_templates_are_checked_all_the_same(model: MedLSAM) -> None:
    with pytest.raises(TemplateError, match="another localizer"):
        model.segment(draw_ct(GRID), template_set(signature="0" * 64), boxes={})


def test_out_of_view_is_handed_on() -> None:
    places = given_localization(draw_ct(GRID), {}, template_set(), "scan", out_of_view={"plate"})
    assert {name: s.status for name, s in places.structures.items()} == {
        "block": "missing",
        "plate": "out_of_view",
        "ghost": "missing",
    }
    assert template_set().signature == SIGNATURE


@pytest.fixture(scope="module")
def small():
    """The networks that ship, templates of one coarse phantom, and a scan of another person."""
    made = [medlsam.phantom(seed, (6, 6, 6), (340, 460), fov_mm=360) for seed in (1, 9)]
    wanted = ("liver", "spleen")
    table = np.zeros(256, np.uint8)
    for value, name in made[0].names.items():
        table[value] = wanted.index(name) + 1 if name in wanted else 0
    model = medlsam.load(device="cpu", precision="float32")
    assert isinstance(model.localizer, Localizer)
    labels = LabelMap(table[made[0].labels.array], made[0].labels.grid)
    template = Template("one", made[0].image, labels, None)
    return (
        model,
        build_templates(model.localizer, [template], dict(enumerate(wanted, start=1))),
        made[1].image,
    )


@pytest.mark.slow
def test_unchanged_boxes_give_the_same_label_map(small, tmp_path) -> None:
    model, templates, image = small
    located = model.segment(image, templates, case="scan", shape_prompt=True)
    assert write_markups(located.localization, tmp_path) == ["points.mrk.json", "boxes.mrk.json"]
    boxes = read_boxes(tmp_path / "boxes.mrk.json")
    again = model.segment(image, templates, case="scan", boxes=boxes, shape_prompt=True)
    assert located.labels.array.any()
    np.testing.assert_array_equal(again.labels.array, located.labels.array)
    # With the templates' profile and mean shape, which the file does not hold.
    for name in boxes:
        given = again.localization.structures[name]
        np.testing.assert_array_equal(given.profile, mean_profile(templates.by_structure[name]))
        np.testing.assert_array_equal(given.shape_prior, mean_shape(templates.by_structure[name]))


@pytest.mark.slow
def test_a_moved_box_moves_the_mask(small) -> None:
    model, templates, image = small
    located = model.localize(image, templates, case="scan").structures["liver"].box
    assert located is not None
    moved = Box(located.min, (located.center[0], *located.max[1:]))
    mask = model.segment(image, templates, boxes={"liver": moved}).labels.array == 1
    box = medlsam.geometry.mask_box(mask, image.grid)
    assert box.max[0] < located.center[0] + 12  # two voxels
