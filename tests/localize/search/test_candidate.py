"""Where several templates agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medlsam.localize.search.candidate import Candidate, agreed, merge_candidates, weighted_median

VALUES = arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-500, 500))


@given(VALUES, st.floats(0.1, 10))
def test_equal_weights_give_the_usual_median(values: np.ndarray, weight: float) -> None:
    assert weighted_median(values, np.full(len(values), weight)) == pytest.approx(np.median(values, axis=0))


@given(VALUES, st.integers(0, 1000))
def test_the_order_of_templates_does_not_matter(values: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weight, order = generator.uniform(0.1, 1, len(values)), generator.permutation(len(values))
    assert agreed(values, weight) == pytest.approx(agreed(values[order], weight[order]), abs=1e-6)


def test_a_heavy_template_decides_the_median() -> None:
    assert weighted_median(np.array([0.0, 10.0, 50.0]), np.array([1.0, 1.0, 3.0])) == pytest.approx(50)


def candidate(face: float, support: float | None) -> Candidate:
    points = np.full((1, 6, 3), face)
    points[:, 1::2] += 20.0
    return Candidate(points, points, 0.5, 1.0, None, None if support is None else np.array([support]), 0.5)


def test_templates_count_by_how_well_their_scans_are_aligned() -> None:
    good, bad = candidate(0.0, 0.5), candidate(40.0, 0.1)
    merged = merge_candidates([good, good, bad, bad])
    assert merged.weight == pytest.approx([1, 1, np.exp(-4), np.exp(-4)])
    assert merged.box.min[0] == pytest.approx(0.7, abs=0.7)
    # Without support all count the same, so four templates meet halfway.
    equal = merge_candidates([candidate(0.0, None), candidate(40.0, 0.1)])
    assert equal.supports is None
    assert equal.box.min[0] == pytest.approx(20)
