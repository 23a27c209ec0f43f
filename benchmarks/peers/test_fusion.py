"""The votes: most atlases, or most weight; and who weighs how much."""

from __future__ import annotations

import numpy as np

from benchmarks.peers.fusion import local_weights, majority, vote

LABELS = [
    np.array([[[0, 1, 2, 7]]], np.uint8),
    np.array([[[0, 1, 1, 0]]], np.uint8),
    np.array([[[5, 1, 2, 3]]], np.uint8),
]


def test_most_atlases_win_and_background_wins_a_tie() -> None:
    found = majority(LABELS)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[0, 1, 2, 0]]]


def test_one_heavy_atlas_outvotes_two_light_ones() -> None:
    weights = [np.full((1, 1, 4), weight, np.float32) for weight in (1, 1, 3)]
    weights[2][..., 2] = 0.5
    assert vote(LABELS, weights).tolist() == [[[5, 1, 2, 3]]]


def test_the_atlas_that_looks_like_the_scan_weighs_more_where_it_does() -> None:
    scan = np.zeros((1, 1, 200), np.float32)
    left, right = scan.copy(), scan.copy()
    left[..., 100:], right[..., :100] = 10, 10  # each is right in one half
    weights = local_weights(scan, [left, right], (3.0, 3.0, 3.0), 10.0, 2.0)
    assert weights[0][0, 0, 10] > 1000 * weights[1][0, 0, 10]
    assert weights[1][0, 0, 190] > 1000 * weights[0][0, 0, 190]
    assert weights[0][0, 0, 99] < 0.9 * weights[0][0, 0, 90], "local is some millimetres, not a voxel"
    # As far as it reaches in mm, not in voxels.
    fine = local_weights(scan, [left], (3.0, 3.0, 1.0), 10.0, 2.0)[0]
    assert fine[0, 0, 90] < weights[0][0, 0, 90]
    even = local_weights(scan, [left, right], (3.0, 3.0, 3.0), 10.0, 0.0)
    assert all((own == 1).all() for own in even)
