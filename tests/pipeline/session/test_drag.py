"""A dragged face acts near itself."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.geometry import Box, Grid
from medlsam.pipeline.session.box_edit import inside
from medlsam.pipeline.session.drag import Drag, FaceRule
from medlsam.pipeline.session.mask import EMPTY, MaskPart
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.protocol import Segmenter
from tests.support.sessions import session, whole

GRID = Grid((40, 50, 60), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
RULE = FaceRule(zone=1.0, least_mm=4.0, most=0.5, seam_mm=2.0)
OLD = Box((9.5, 9.5, 19), (40.5, 40.5, 59))


def part() -> MaskPart:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[10:30, 10:41, 10:41] = True
    return MaskPart.of(mask)


def drag(faces: tuple[float, ...]) -> tuple[Drag, Box]:
    """Faces of the box moved outward, x low, x high, y low, ..."""
    new = OLD.expand(faces)
    found = Drag.between(OLD, new, GRID, RULE)
    assert found is not None
    return found, new


def test_only_the_zone_behind_the_dragged_face_is_asked_and_stretched() -> None:
    own, box = drag((0, 0, 0, 0, 0, 8))
    prompts = own.prompts(part(), box, GRID)
    # The face goes from 59 to 67 mm; the zone ends 8 mm below the old place.
    assert [prompt.z for prompt in prompts] == list(range(26, 34))
    assert own.moved(2, np.array([29.5, 25.5, 12.0])).tolist() == [33.5, 25.5, 12.0]
    assert own.moved(2, np.array([33.5, 25.5, 12.0]), back=True).tolist() == [29.5, 25.5, 12.0]
    own, box = drag((0, 5, 0, 0, 0, 0))
    prompts = own.prompts(part(), box, GRID)
    assert [prompt.z for prompt in prompts] == list(range(10, 30))
    assert {prompt.box_xyxy for prompt in prompts} == {(9.5, 9.5, 45.5, 40.5)}


def test_slices_that_do_not_reach_the_dragged_face_are_left_alone() -> None:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[10:20, 10:41, 10:41] = mask[20:30, 10:41, 10:25] = True
    own, box = drag((0, 5, 0, 0, 0, 0))
    assert [prompt.z for prompt in own.prompts(MaskPart.of(mask), box, GRID)] == list(range(10, 20))


@pytest.mark.parametrize("outward", [True, False])
def test_a_face_only_adds_or_only_takes_away_near_itself(outward: bool) -> None:
    own, _ = drag((0, 5 if outward else -5, 0, 0, 0, 0))
    mask = part()
    before, inner = mask.on(GRID), 35 if outward else 30
    for value in (0.0, 1.0):
        block = MaskBlock((8, 0, 0), np.full((24, 50, 60), value, np.float32))
        made, kept = own.blended(mask, block, range(10, 30))
        found = MaskPart.of(made.probability >= 0.5, made.origin_zyx).on(GRID)
        if bool(value) is not outward:
            assert np.array_equal(found, before)
        else:
            assert np.array_equal(found[:, :, : inner + 1], before[:, :, : inner + 1])
            assert (found[10:30, 10:41, inner + 2 :] == outward).all()
            assert not found[:10].any()
        assert kept.sum() == 20 * 31 * (inner + 1 - 10)


def test_a_box_in_another_place_is_no_drag() -> None:
    assert Drag.between(OLD, Box((60, 60, 19), (90, 90, 59)), GRID, RULE) is None
    assert Drag.between(OLD, OLD.expand(-9), GRID, RULE) is None


@pytest.mark.parametrize("face", range(6))
def test_a_dragged_face_keeps_the_far_half(segmenter: Segmenter, face: int) -> None:
    own = session(segmenter)
    before, box = whole(own, "ball"), own.structures["ball"].box
    assert box is not None
    faces = [0.0] * 6
    faces[face] = 5
    edit = own.move_box("ball", box.expand(faces))
    z, y, x = np.nonzero(before != whole(own, "ball"))
    assert edit.slices == tuple(np.unique(z))
    places = (x, y, z)[face // 2]
    inner = own.grid.lps_to_ijk(box.center)[face // 2]
    assert (places <= inner + 0.5 if face % 2 == 0 else places >= inner - 0.5).all()
    own.clear_clicks("ball")
    assert own.structures["ball"].clicks == ()


def test_clicks_far_from_the_face_keep_their_voxels_and_can_still_be_cleared(segmenter: Segmenter) -> None:
    own = session(segmenter)
    box = own.structures["ball"].box
    assert box is not None
    own.click("ball", (-18.0, 0.0, 120.0), inside=False)
    clicked = whole(own, "ball")
    own.move_box("ball", box.expand((0, 5, 0, 0, 0, 0)))
    half = int(own.grid.lps_to_ijk(box.center)[0])
    assert np.array_equal(whole(own, "ball")[:, :, :half], clicked[:, :, :half])
    own.clear_clicks("ball")
    untouched = own.start.labels.array == 3
    assert np.array_equal(whole(own, "ball")[:, :, :half], untouched[:, :, :half])


def test_a_face_can_be_dragged_where_only_clicks_made_the_mask(segmenter: Segmenter) -> None:
    own = session(segmenter)
    box = own.structures["ball"].box
    assert box is not None
    own.absent("ball")
    own.move_box("ball", Box((-58, -58, 102), (-30, -30, 130)))  # nothing there, or little
    own.click("ball", (-44.0, -44.0, 118.0))
    clicked = whole(own, "ball")
    assert clicked.any()
    for faces in ((0, 0, 0, 0, 0, 2), (0, 0, 0, 0, 0, 0)):
        now = own.structures["ball"].box
        assert now is not None
        own.move_box("ball", now.expand(faces))
        assert whole(own, "ball")[6, 8, 8]
    own.clear_clicks("ball")
    assert own.structures["ball"].clicks == ()


def test_parts_of_nothing_stay_nothing() -> None:
    own, _ = drag((0, 5, 0, 0, 0, 0))
    made, kept = own.blended(EMPTY, None, ())
    assert made.probability.size == kept.size == 0
    found = inside(made, OLD, GRID, 1, kept)
    assert not found.array.size
