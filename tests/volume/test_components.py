"""Connected parts of a mask."""

from __future__ import annotations

import numpy as np

from medlsam.volume.components import large_components, largest_components


def row(*runs: int) -> np.ndarray:
    """A mask of one row: runs of so many voxels, a gap after each."""
    return np.array([[[inside for run in runs for inside in [True] * run + [False]]]])


def test_diagonal_neighbours_are_connected() -> None:
    mask = np.zeros((3, 3, 3), dtype=bool)
    mask[[0, 1, 2], [0, 1, 2], [0, 1, 2]] = True
    np.testing.assert_array_equal(largest_components(mask), mask)
    assert len(large_components(mask)) == 1


def test_so_many_parts_stay_the_largest() -> None:
    mask = row(3, 5, 4)
    assert largest_components(mask)[0, 0].tolist() == [0] * 4 + [1] * 5 + [0] * 6
    assert largest_components(mask, 2)[0, 0].tolist() == [0] * 4 + [1] * 5 + [0] + [1] * 4 + [0]
    np.testing.assert_array_equal(largest_components(mask, 3), mask)
    np.testing.assert_array_equal(largest_components(mask, 9), mask)


def test_the_first_of_equal_parts_stays() -> None:
    assert largest_components(row(2, 2))[0, 0].tolist() == [1, 1, 0, 0, 0, 0]


def test_parts_under_a_tenth_do_not_count() -> None:
    assert [part.sum() for part in large_components(row(2, 30, 3))] == [30, 3]
    assert largest_components(row(2, 30, 3), 3).sum() == 33


def test_an_empty_mask_has_no_parts() -> None:
    nothing = np.zeros((2, 3, 4), dtype=bool)
    assert large_components(nothing) == []
    assert not largest_components(nothing, 2).any()
    assert largest_components(np.zeros((0, 3, 4), dtype=bool)).shape == (0, 3, 4)
