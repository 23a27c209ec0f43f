"""Masks put together, and foreign values renumbered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medlsam.data.label_values import MaskMerger, numbered, renumbered
from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.volume.volume import LabelMap

GRID = Grid((2, 3, 4))


def test_masks_that_overlap_stay_with_the_first_and_are_counted() -> None:
    merger = MaskMerger(GRID, numbered(["a", "b", "c"]))
    first, second = np.zeros((2, 2, 3, 4), bool)
    first[0, :2], second[0, 1:] = True, True
    merger.add("a", first)
    merger.add("b", second)
    merger.add("c", np.zeros(GRID.shape_zyx, bool))
    assert merger.labels.array[0].tolist() == [[1] * 4, [1] * 4, [2] * 4]
    assert merger.empty == ("c",)
    assert merger.notes == ("4 voxels of b were in an earlier mask, too, and stay there",)


def test_many_structures_need_more_than_a_byte() -> None:
    merger = MaskMerger(GRID, numbered(f"s{n}" for n in range(300)))
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[0, 0, 0] = True
    merger.add("s299", mask)
    assert merger.labels.array[0, 0, 0] == 300


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_renumbering_keeps_every_structure_where_it_was(values: list[int], random: object) -> None:
    own = {value: f"s{value}" for value in values}
    names = numbered(sorted(own.values()))
    array = np.random.default_rng(len(values)).choice([0, *values], GRID.shape_zyx).astype(np.uint16)
    found = renumbered(LabelMap(array, GRID), own, names).array
    for value, name in own.items():
        (new,) = (v for v, n in names.items() if n == name)
        np.testing.assert_array_equal(found == new, array == value)
    np.testing.assert_array_equal(found == 0, array == 0)


def test_a_value_without_a_name_is_refused() -> None:
    with pytest.raises(VolumeError, match=r"value 7, 9 is no structure of this source \(known: 1 a\)"):
        renumbered(LabelMap(np.full(GRID.shape_zyx, 9).cumsum(0) % 11, GRID), {1: "a"}, {1: "a"})
