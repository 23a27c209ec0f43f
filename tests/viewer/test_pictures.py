"""Slices as pictures, outlines, and what the page does with places."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.viewer.outlines import lines_of, outlines, part_outlines
from medlsam.viewer.pictures import VIEWS, geometry, png, slice_of, view_of
from medlsam.viewer.scans import Shelf

GRID = Grid((4, 6, 8), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))


def place_of(found: dict[str, object], view_name: str, column: float, row: float, index: int) -> list[float]:
    """What ``toLps`` in plane.js computes."""
    view = VIEWS[view_name]
    shape, origin, spacing = (np.array(found[name], float) for name in ("shape", "origin", "spacing"))
    ijk = np.zeros(3)
    ijk[view.cut], ijk[view.across] = index, column
    ijk[view.up] = shape[view.up] - 1 - row if view.upwards else row
    return [float(value) for value in origin + ijk * spacing]


@pytest.mark.parametrize("name", VIEWS)
def test_a_pixel_is_the_voxel_at_its_place(name: str) -> None:
    array = np.random.default_rng(0).integers(-1000, 1000, GRID.shape_zyx).astype(np.int16)
    view = view_of(name)
    index = 2
    plane = slice_of(array, view, index)
    for row, column in ((0, 0), (1, 3), (plane.shape[0] - 1, plane.shape[1] - 1)):
        x, y, z = np.rint(GRID.lps_to_ijk(place_of(geometry(GRID), name, column, row, index))).astype(int)
        assert plane[row, column] == array[z, y, x]


@pytest.mark.parametrize(("name", "left", "top"), [("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)])
def test_the_patient_lies_as_radiologists_expect(name: str, left: int, top: int) -> None:
    """Left of the picture: the right side, or the front. Top: the front, or the head. LPS grows to left, back, head."""
    found = geometry(GRID)
    first, right, low = (place_of(found, name, *pixel, 1) for pixel in ((0, 0), (3, 0), (0, 3)))
    assert right[left] > first[left], "columns run to the patient's left, or back"
    assert (low[top] > first[top]) == (top == 1), "rows run to the back, or from the head down"
    assert VIEWS[name].sides == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}[name]


def test_the_window_is_black_and_white_at_its_ends() -> None:
    grey = np.asarray(Picture.open(io.BytesIO(png(np.array([[-1024, -160, 40, 240, 3000]]), -160, 240))))
    assert grey.tolist() == [[0, 0, 128, 255, 255]]
    for low, high in ((5, 5), (10, 0), (float("nan"), 1), (0, float("inf"))):
        with pytest.raises(UsageError, match="lowest HU below"):
            png(np.zeros((2, 2)), low, high)


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 9))
def test_an_outline_holds_its_mask_and_nothing_else(seed: int, rows: int, columns: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    lines = lines_of(mask)
    assert bool(lines) == bool(mask.any())
    # a pixel's middle is inside of an odd number of lines where the mask is
    for row, column in np.ndindex(mask.shape):
        crossings = sum(_crossings(np.array(line), column + 1e-3, row + 1e-4) for line in lines)
        assert crossings % 2 == mask[row, column]
    for line in lines:
        assert line[0] == line[-1], "closed, also at the border"


def _crossings(line: np.ndarray, x: float, y: float) -> int:
    """How often a ray from a point to the right crosses a line."""
    (x0, y0), (x1, y1) = line[:-1].T, line[1:].T
    between = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
    return int((between & (at > x)).sum())


def test_outlines_of_all_labels() -> None:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[1, 2:4, 3:6], labels[2, 0, 0] = 7, 3
    assert outlines(labels, VIEWS["axial"], 1).keys() == {7}
    assert outlines(labels, VIEWS["axial"], 0) == {}
    ((line,),) = outlines(labels, VIEWS["axial"], 1).values()
    assert np.min(line, axis=0).tolist() == [2.5, 1.5]
    assert np.max(line, axis=0).tolist() == [5.5, 3.5]
    with pytest.raises(UsageError, match="slices go from 0 to 3"):
        outlines(labels, VIEWS["axial"], 4)


def test_a_shelf_keeps_what_was_used_last() -> None:
    made: list[str] = []

    def make(key: str) -> str:
        made.append(key)
        if key == "bad":
            raise UsageError("bad")
        return key * 10

    shelf = Shelf(make, len, limit=20)
    assert [shelf.get(key) for key in "abab"] == ["a" * 10, "b" * 10] * 2
    assert made == ["a", "b"]
    shelf.get("c")
    shelf.get("b")
    assert made == ["a", "b", "c"], "a made room, since b was used later"
    shelf.get("a")
    assert made[-1] == "a"
    for _ in range(2):
        with pytest.raises(UsageError):
            shelf.get("bad")
    assert made.count("bad") == 2, "it is tried again"
    shelf.forget("a")
    shelf.get("a")
    assert made[-1] == "a"


@given(st.integers(0, 10_000), st.sampled_from(list(VIEWS)))
def test_a_part_is_outlined_as_the_whole_mask_is(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    low = np.array([rng.integers(0, n) for n in GRID.shape_zyx])
    high = np.array([rng.integers(a + 1, n + 1) for a, n in zip(low, GRID.shape_zyx, strict=True)])
    whole = np.zeros(GRID.shape_zyx, bool)
    place = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    whole[place] = rng.random(high - low) < 0.6
    view, origin = VIEWS[name], (int(low[0]), int(low[1]), int(low[2]))
    for index in range(GRID.shape_zyx[2 - view.cut]):
        expected = outlines(whole.astype(np.uint8), view, index).get(1, [])
        assert part_outlines(whole[place], origin, GRID.shape_zyx, view, index) == expected
    with pytest.raises(UsageError, match="slices go from 0"):
        part_outlines(whole[place], origin, GRID.shape_zyx, view, 99)
