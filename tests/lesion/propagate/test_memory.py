"""Propagation from the key slice: it follows the lesion, stops where it ends, and keeps to its part."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.lesion.propagate.appearance import learn_appearance
from medlsam.lesion.propagate.memory import MemoryOptions, propagate_lesion
from medlsam.lesion.propagate.planes import region_around
from medlsam.lesion.propagate.side_views import side_views
from medlsam.segment.label_map import MaskBlock
from medlsam.volume import Image
from tests.lesion.propagate.scans import CENTER, GRID, RADII, SeesDark, ball, scan


def whole(block: MaskBlock) -> NDArray[np.bool_]:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))] = (
        block.probability >= 0.5
    )
    return mask


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def key(z: int = CENTER[0]) -> NDArray[np.float32]:
    return ball()[z].astype(np.float32)


@pytest.mark.parametrize(
    "options", [MemoryOptions(), MemoryOptions(views=0), MemoryOptions(mask_prompt=True)]
)
def test_a_lesion_is_followed_to_both_ends_and_no_farther(options: MemoryOptions) -> None:
    seer = SeesDark()
    mask = whole(propagate_lesion(seer, scan(), CENTER[0], key(), options))
    assert dice(mask, ball()) > 0.9
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    ends = CENTER[0] - int(RADII[0]), CENTER[0] + int(RADII[0])
    assert abs(slices[0] - ends[0]) <= 1
    assert abs(slices[-1] - ends[1]) <= 1


def test_another_lesion_is_left_alone() -> None:
    lesions = ball()
    lesions[20:27, 24:34, 28:40] = True  # below the same rows and columns, beyond a gap
    mask = whole(propagate_lesion(SeesDark(), scan(lesions), CENTER[0], key()))
    assert not mask[20:].any()
    assert dice(mask, ball()) > 0.9


def test_the_ends_of_the_scan_end_a_lesion() -> None:
    tall = np.zeros(GRID.shape_zyx, bool)
    tall[:, 20:36, 25:45] = True
    mask = whole(
        propagate_lesion(SeesDark(), scan(tall), 3, tall[3].astype(np.float32), MemoryOptions(views=0))
    )
    assert mask[0].any()
    assert mask[-1].any()
    near = MemoryOptions(views=0, reach_mm=9.0)
    mask = whole(propagate_lesion(SeesDark(), scan(tall), 3, tall[3].astype(np.float32), near))
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_nothing_on_the_key_slice_is_no_lesion() -> None:
    block = propagate_lesion(SeesDark(), scan(), 3, np.zeros(GRID.shape_zyx[1:], np.float32))
    assert block.probability.size == 0


def test_a_segmenter_that_always_answers_is_stopped_by_looks() -> None:
    class Stubborn(SeesDark):
        """Finds the whole box, in every slice."""

        def segment(self, volume: Image, prompts, stopwatch=None, mask_prompts=None):  # type: ignore[no-untyped-def]
            black = Image(np.full(volume.array.shape, -1000, np.int16), volume.grid)
            return super().segment(black, prompts, stopwatch, mask_prompts)

    slices = {}
    for likeness in (0.0, 0.5):
        options = MemoryOptions(views=0, likeness=likeness)
        mask = whole(propagate_lesion(Stubborn(), scan(), CENTER[0], key(), options))
        slices[likeness] = int(mask.any(axis=(1, 2)).sum())
    assert slices[0.0] > 20
    assert slices[0.5] < 15


def test_side_views_see_where_a_lesion_ends() -> None:
    region = region_around(key() > 0, CENTER[0], scan(), 200.0)
    own = region.plane_of(key()) > 0
    views = side_views(SeesDark(), scan(), region, own, MemoryOptions())
    z, y, x = region.origin_zyx
    truth = ball()[z : z + region.shape_zyx[0], y : y + region.shape_zyx[1], x : x + region.shape_zyx[2]]
    assert dice(views >= 0.5, truth) > 0.85
    middle = views[:, CENTER[1] - y, CENTER[2] - x] >= 0.5
    assert np.flatnonzero(middle).tolist() == np.flatnonzero(truth[:, CENTER[1] - y, CENTER[2] - x]).tolist()


def test_looks_decide_nothing_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    mask = key() > 0
    grid = Grid((1, *mask.shape), (1.5, 2.0, 3.0))
    noise = rng.normal(50, 5, mask.shape)
    alike = learn_appearance(noise, mask, grid)
    assert alike.likeness(noise, mask) == 1.0
    lesion = np.where(mask, 20, 60) + rng.normal(0, 3, mask.shape)
    learned = learn_appearance(lesion, mask, grid)
    assert learned.likeness(lesion, mask) == pytest.approx(1.0)
    assert learned.likeness(np.full(mask.shape, 60), mask) < 0.1
