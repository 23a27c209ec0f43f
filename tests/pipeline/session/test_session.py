"""Sessions on phantoms with the segmenter that ships: what a person may rely on whatever the mask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import medlsam
from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Box, Grid
from medlsam.segment.protocol import Segmenter
from medlsam.volume import resample
from tests.support.sessions import FAR, GRID, IN, OUT, ROD, at, session, whole


@pytest.mark.parametrize(("point", "inside"), [(IN, True), (OUT, False), (FAR, True)])
def test_the_clicked_voxel_obeys_and_far_voxels_stay(
    segmenter: Segmenter, point: tuple[float, float, float], inside: bool
) -> None:
    own = session(segmenter)
    before = whole(own, "ball")
    edit = own.click("ball", point, inside)
    after = whole(own, "ball")
    assert at(after, point, own.grid) == inside
    differs = before != after
    assert edit.slices == tuple(np.flatnonzero(differs.any(axis=(1, 2))))
    places = own.grid.ijk_to_lps(np.argwhere(differs)[:, ::-1])
    assert np.linalg.norm(places - np.array(point), axis=1).max() <= 30
    # A click inside takes nothing away, one outside adds nothing.
    assert (after[differs] == inside).all()
    assert edit.volume_ml == pytest.approx(after.sum() * own.grid.voxel_ml)


def test_a_click_inside_brings_more_than_its_voxel(segmenter: Segmenter) -> None:
    own = session(segmenter)
    before = whole(own, "ball").sum()
    edit = own.click("ball", IN)
    assert whole(own, "ball").sum() > before + 30
    assert len(edit.slices) > 2


def test_clicks_never_undo_each_other(segmenter: Segmenter) -> None:
    own = session(segmenter)
    random = np.random.default_rng(3)
    clicks = [(tuple(random.uniform((-28, -28, 112), (28, 28, 160))), bool(n % 2)) for n in range(12)]
    for point, inside in clicks:
        own.click("ball", point, inside)
    for point, inside in clicks:
        assert at(whole(own, "ball"), point, own.grid) == inside
    box = own.structures["ball"].box
    assert box is not None
    # They hold when a face is dragged, too.
    own.move_box("ball", box.expand((0, 6, 0, 0, 0, 0)))
    for point, inside in clicks:
        assert at(whole(own, "ball"), point, own.grid) == inside


def test_the_same_voxel_clicked_again_changes_its_mind(segmenter: Segmenter) -> None:
    own = session(segmenter)
    own.click("ball", IN)
    own.click("ball", IN, inside=False)
    assert not at(whole(own, "ball"), IN, own.grid)
    assert len(own.structures["ball"].clicks) == 1


def test_undo_and_redo_restore_bit_for_bit(segmenter: Segmenter) -> None:
    own = session(segmenter)
    box = own.structures["ball"].box
    assert box is not None
    steps: list[Callable[[], object]] = [
        lambda: own.click("ball", IN),
        lambda: own.move_box("ball", box.expand((0, 8, 0, 0, 0, 8))),
        lambda: own.click("ball", OUT, inside=False),
        lambda: own.clear_clicks("ball"),
        lambda: own.absent("ball"),
    ]
    seen = [(whole(own, "ball"), own.structures["ball"].box, own.labels().array)]
    for step in steps:
        step()
        seen.append((whole(own, "ball"), own.structures["ball"].box, own.labels().array))
    for mask, at_box, labels in reversed(seen[:-1]):
        own.undo("ball")
        assert np.array_equal(whole(own, "ball"), mask)
        assert own.structures["ball"].box == at_box
        assert np.array_equal(own.labels().array, labels)
    with pytest.raises(UsageError, match="nothing to undo"):
        own.undo("ball")
    for mask, at_box, _ in seen[1:]:
        own.redo("ball")
        assert np.array_equal(whole(own, "ball"), mask)
        assert own.structures["ball"].box == at_box
    with pytest.raises(UsageError, match="nothing to redo"):
        own.redo("ball")


def test_clear_clicks_gives_the_mask_of_the_box(segmenter: Segmenter) -> None:
    own = session(segmenter)
    before, box = whole(own, "ball"), own.structures["ball"].box
    own.click("ball", FAR)
    widened = own.structures["ball"].box
    assert box is not None
    assert widened is not None
    assert widened.min[0] < FAR[0] < box.min[0]
    own.clear_clicks("ball")
    assert np.array_equal(whole(own, "ball"), before)
    assert own.structures["ball"].box == box


def test_a_dragged_face_is_followed(segmenter: Segmenter) -> None:
    own = session(segmenter)
    true = Box((-24, -24, 111), (24, 24, 159))
    edit = own.move_box("ball", true)
    z, y, x = np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij")
    lps = GRID.ijk_to_lps(np.stack([x, y, z], axis=-1))
    ball = ((lps - (0, 0, 135)) ** 2).sum(axis=-1) < 24**2
    mask = whole(own, "ball")
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.9
    assert edit.box is not None
    assert (np.array(edit.box.min) >= np.array(true.min) - 3).all()
    assert (np.array(edit.box.max) <= np.array(true.max) + 3).all()


def test_result_says_what_a_person_did(segmenter: Segmenter) -> None:
    own = session(segmenter)
    untouched = own.result()
    assert untouched.localization.structures == dict(own.start.localization.structures)
    own.move_box("new", Box((-24, -24, 111), (24, 24, 159)))
    own.accept("ball")
    own.absent("rod")
    found = own.result()
    ball, rod, new = (found.localization.structures[name] for name in ("ball", "rod", "new"))
    assert (ball.status, ball.confidence, ball.details["accepted"]) == ("found", 1.0, 1.0)
    assert (rod.status, rod.box) == ("missing", None)
    assert new.details["given"] == 1.0
    assert new.box == own.structures["new"].mask_bounds
    assert found.names[ROD + 1] == "new"
    assert not (found.labels.array == ROD).any()
    assert (found.labels.array == ROD + 1).any()
    own.click("ball", IN)
    assert not own.structures["ball"].accepted
    assert "new" in own._repr_html_()


def test_what_cannot_be_done_is_said(segmenter: Segmenter) -> None:
    own = session(segmenter)
    with pytest.raises(UsageError, match="did you mean 'ball'"):
        own.click("bal", IN)
    with pytest.raises(GeometryError, match="outside of the scan"):
        own.click("ball", (500, 0, 0))
    with pytest.raises(GeometryError, match="outside of the scan"):
        own.move_box("ball", Box((500, 0, 0), (510, 10, 10)))
    with pytest.raises(GeometryError, match="no extent"):
        own.move_box("ball", Box((0, 0, 120), (0, 10, 130)))
    own.absent("rod")
    with pytest.raises(UsageError, match="give it a box first"):
        own.click("rod", IN)
    assert "typo" not in own.structures


def test_threads_may_share_it(segmenter: Segmenter) -> None:
    own = session(segmenter)
    failed: list[BaseException] = []

    def work(name: str, points: list[tuple[float, float, float]]) -> None:
        try:
            for point in points:
                own.click(name, point)
                own.labels()
                own.undo(name)
        except BaseException as error:
            failed.append(error)

    jobs = [
        threading.Thread(target=work, args=("ball", [IN, FAR, IN])),
        threading.Thread(target=work, args=("rod", [FAR, IN, FAR])),
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert not failed
    assert np.array_equal(own.labels().array, own.start.labels.array)


def test_begins_empty_from_templates_or_from_a_segmentation(model: medlsam.MedLSAM) -> None:
    from tests.support.bare_templates import bare_templates
    from tests.support.fakes.stub_model import draw_ct

    scan = draw_ct(Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0)))
    empty = model.session(scan)
    assert not empty.structures
    with pytest.raises(UsageError, match="there are: none"):
        empty.click("block", (20, 0, 20))
    templates = bare_templates().select(["block", "plate"])
    found = model.segment(scan, templates)
    for own in (model.session(scan, templates), model.session(scan, segmentation=found)):
        assert np.array_equal(own.labels().array, found.labels.array)
        assert own.structures["block"].box == found.localization.structures["block"].box
    box = found.localization.structures["block"].box
    assert box is not None
    edit = empty.move_box("block", box)
    assert edit.volume_ml > 0
    assert np.array_equal(empty.labels().array > 0, found.labels.array == 1)
    other = replace(found, labels=resample(found.labels, Grid((8, 8, 8), (3.0, 3.0, 3.0))))
    with pytest.raises(GeometryError, match="another grid"):
        model.session(scan, segmentation=other)
