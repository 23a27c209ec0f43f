"""Masks come back in the scan's own voxels, however it is stored, and what nobody touched is as it was."""

from __future__ import annotations

import numpy as np

from medlsam.geometry import Box, Grid
from medlsam.pipeline.session.mask import EMPTY
from medlsam.pipeline.session.own_geometry import Change, own_labels
from medlsam.pipeline.session.values import Click
from medlsam.segment.protocol import Segmenter
from medlsam.volume import LabelMap, to_canonical
from tests.support.sessions import BALL, GRID, IN, OUT, ROD, at, session, whole

TILTED = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1.0]])
OBLIQUE = Grid((24, 60, 60), (2.0, 2.0, 3.0), (-40.0, -74.0, 100.0), tuple(TILTED.ravel()))


def test_what_nobody_touched_is_as_it_was_in_any_geometry(segmenter: Segmenter) -> None:
    grids = {
        "turned": Grid((60, 60, 24), (3.0, 2.0, 2.0), (58.0, 58.0, 100.0), (0, -1, 0, 0, 0, -1, 1, 0, 0)),
        "flipped": Grid((24, 60, 60), (2.0, 2.0, 3.0), (58.0, 58.0, 169.0), (-1, 0, 0, 0, -1, 0, 0, 0, -1)),
        "oblique": OBLIQUE,
    }
    for kind, grid in grids.items():
        own = session(segmenter, grid)
        start = own.start.labels.array
        assert np.array_equal(own.labels().array, start), kind
        own.click("ball", IN)
        own.click("ball", OUT, inside=False)
        labels = own.labels()
        assert labels.grid == grid
        assert at(labels.array, IN, grid) == BALL, kind
        assert at(labels.array, OUT, grid) != BALL, kind
        places = grid.ijk_to_lps(np.argwhere(labels.array != start)[:, ::-1])
        off = [np.linalg.norm(places - np.array(point), axis=1) for point in (IN, OUT)]
        assert np.min(off, axis=0).max() <= 33, kind


def test_labels_are_the_masks_in_flipped_geometry(segmenter: Segmenter) -> None:
    flipped = Grid((24, 60, 60), (2.0, 2.0, 3.0), (58.0, 58.0, 169.0), (-1, 0, 0, 0, -1, 0, 0, 0, -1))
    own = session(segmenter, flipped)
    own.move_box("ball", Box((-24, -24, 111), (24, 24, 159)))
    back = to_canonical(own.labels())
    assert np.array_equal(back.array == BALL, whole(own, "ball"))


def test_the_structure_edited_last_has_the_voxel(segmenter: Segmenter) -> None:
    own = session(segmenter)
    shared = (40.0, 0.0, 140.0)
    own.click("ball", shared)
    assert at(own.labels().array, shared, GRID) == BALL
    own.click("rod", shared)
    assert at(own.labels().array, shared, GRID) == ROD
    own.undo("ball")
    assert np.array_equal(own.labels().array == ROD, own.start.labels.array == ROD)


def test_every_click_obeys_in_an_oblique_scan(segmenter: Segmenter) -> None:
    own = session(segmenter, OBLIQUE)
    random = np.random.default_rng(5)
    ijk = np.unique(2 * random.integers((9, 11, 3), (21, 23, 10), (40, 3)), axis=0)
    clicks = [
        (tuple(OBLIQUE.ijk_to_lps(place + random.uniform(-0.45, 0.45, 3))), bool(random.integers(2)))
        for place in ijk
    ]
    for point, inside in clicks:
        own.click("ball", point, inside)
    labels = own.labels().array
    for point, inside in clicks:
        assert bool(at(labels, point, OBLIQUE) == BALL) == inside


def test_a_clicked_voxel_is_as_it_was_clicked_whatever_the_finer_mask_says() -> None:
    point = tuple(OBLIQUE.ijk_to_lps((30.4, 30.4, 10.4)))
    canonical = to_canonical(LabelMap(np.zeros(OBLIQUE.shape_zyx, np.uint8), OBLIQUE)).grid
    nothing = np.zeros(OBLIQUE.shape_zyx, np.uint8)
    made = own_labels(nothing, [Change(BALL, EMPTY, EMPTY, (Click(point),))], canonical, OBLIQUE)
    assert at(made, point, OBLIQUE) == BALL
    assert (made > 0).sum() == 1
    out = [Change(BALL, EMPTY, EMPTY, (Click(point, inside=False),))]
    assert not own_labels(made, out, canonical, OBLIQUE).any()
