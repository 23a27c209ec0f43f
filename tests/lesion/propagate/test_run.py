"""Lesions of a scan: masks on its own grid in every direction, and one that fails beside those that do not."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.geometry import Box, Grid
from medlsam.lesion.propagate.organ import Organs
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import MemoryPropagator, propagate_lesions
from medlsam.segment.registry import SEGMENTERS
from medlsam.volume import Image
from medlsam.windows import WINDOWS, Window
from tests.lesion.propagate.scans import CENTER, GRID, SeesDark, ball, scan

LOW, HIGH = (GRID.ijk_to_lps((x, y, CENTER[0])).tolist() for x, y in ((20.5, 18.5), (45.5, 37.5)))
BOX = LesionPrompt("a", "cyst", box=Box(tuple(LOW), tuple(HIGH)))


def test_a_lesion_is_measured_and_others_fail_alone() -> None:
    far = LesionPrompt("far", point=(0.0, 0.0, 900.0))
    air = LesionPrompt("air", box=Box((-40, 10, -200), (-30, 20, -200)))
    told: list[str] = []
    organs = Organs(np.ones(GRID.shape_zyx, np.uint8), {1: "muscle"}, GRID)
    done = propagate_lesions(
        scan(), [far, BOX, air], MemoryPropagator(SeesDark()), organs, on_progress=told.append
    )
    assert told == ["far", "a", "air"]
    assert set(done.failed) == {"far", "air"}
    assert "finds nothing at the mark" in done.failed["air"]
    (lesion,) = done.lesions
    assert done.names == {2: "a"}
    assert np.array_equal(done.labels.array == 2, lesion.mask)
    truth = ball().sum() * GRID.voxel_ml
    assert lesion.volume_ml == pytest.approx(truth, rel=0.1)
    assert lesion.longest_mm == pytest.approx(2 * 12.4 * 1.5, abs=2.5)
    assert lesion.perpendicular_mm == pytest.approx(2 * 9.3 * 2.0, abs=2.5)
    assert lesion.mean_hu == pytest.approx(20, abs=2)
    assert lesion.organ is not None
    assert lesion.organ.organ == "muscle"
    entry = done.to_dict()["lesions"][0]
    assert (entry["name"], entry["type"], entry["prompt"], entry["slices"]) == (
        "a",
        "cyst",
        "box",
        lesion.slices,
    )


def test_the_mask_lies_on_the_scans_own_grid() -> None:
    plain = propagate_lesions(scan(), [BOX], MemoryPropagator(SeesDark())).lesions[0]
    # stored from the head down, rows to the front, columns and rows exchanged
    array = np.ascontiguousarray(scan().array.transpose(0, 2, 1)[::-1, :, ::-1])
    origin = GRID.ijk_to_lps((0, GRID.shape_zyx[1] - 1, GRID.shape_zyx[0] - 1)).tolist()
    turned = Grid(array.shape, (2.0, 1.5, 3.0), tuple(origin), (0, 1, 0, -1, 0, 0, 0, 0, -1))
    done = propagate_lesions(Image(array, turned), [BOX], MemoryPropagator(SeesDark()))
    own = done.lesions[0]
    assert own.mask.shape == array.shape
    assert np.array_equal(own.mask.transpose(0, 2, 1)[::-1, ::-1, :], plain.mask)
    assert own.longest_mm == pytest.approx(plain.longest_mm)
    assert own.key_index == plain.key_index


def test_lesions_that_overlap_are_named() -> None:
    again = LesionPrompt("b", box=BOX.box)
    done = propagate_lesions(scan(), [BOX, again], MemoryPropagator(SeesDark()))
    assert done.overlaps == (("a", "b"),)
    first, second = done.lesions
    assert np.array_equal(first.mask, second.mask)
    assert set(np.unique(done.labels.array)) == {0, 2}, "the later one has the voxels"
    third = propagate_lesions(
        scan(), [BOX, again, LesionPrompt("c", box=BOX.box)], MemoryPropagator(SeesDark())
    )
    assert third.overlaps == (("a", "b"), ("a", "c"), ("b", "c")), "also where the second hides the first"
    assert first.part.size < first.mask.size / 10
    assert first.part.base is None, "no whole scan is kept for each lesion"


def test_organs_on_another_grid_are_an_error() -> None:
    organs = Organs(np.ones((2, 2, 2), np.uint8), {1: "muscle"}, Grid((2, 2, 2)))
    done = propagate_lesions(scan(), [BOX], MemoryPropagator(SeesDark()), organs)
    assert "see read_organs" in done.failed["a"]


class SamSeesDark(SeesDark):
    """The same as a whole-slice model, which notes in which windows it was shown slices."""

    spec = SEGMENTERS["sam_vit_b"]


@pytest.mark.parametrize(
    ("offset", "window"), [(0, None), (-800, WINDOWS["lung-wide"]), (800, WINDOWS["bone"])]
)
@pytest.mark.parametrize("kind", ["box", "long", "point"])
def test_a_whole_slice_model_is_shown_the_window_of_the_marked_tissue(
    kind: str, offset: int, window: Window | None
) -> None:
    center = tuple(GRID.ijk_to_lps((CENTER[2], CENTER[1], CENTER[0])).tolist())
    ends = [tuple(GRID.ijk_to_lps((x, CENTER[1], CENTER[0])).tolist()) for x in (22, 44)]
    prompts = {
        "box": BOX,
        "long": LesionPrompt("a", long=(ends[0], ends[1])),
        "point": LesionPrompt("a", point=center),
    }
    plain = scan()
    segmenter = SamSeesDark()
    MemoryPropagator(segmenter).propagate(Image(plain.array + np.int16(offset), GRID), prompts[kind])
    shown = {prompt.window_hu for prompt in segmenter.asked}
    assert shown == {None if window is None else (window.low, window.high)}
