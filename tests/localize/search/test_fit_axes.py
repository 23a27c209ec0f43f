"""A robust scale and shift along each axis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.localize.search.fit_axes import fit_axes


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(0.8, 1.25),
    shift=st.floats(-100, 100),
    seed=st.integers(0, 1000),
    outliers=st.integers(0, 6),
)
def test_fit_axes_is_robust(scale: float, shift: float, seed: int, outliers: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.uniform(-40, 40, (33, 3))
    target = scale * source + shift
    target[:outliers] += 60.0
    fitted_scale, fitted_shift = fit_axes(source, target, np.ones(33), rounds=20)
    error = np.abs(fitted_scale * source + fitted_shift - (scale * source + shift)).mean()
    # The prior draws the scale towards 1, so a stretch is not recovered whole; outliers may cost a little.
    assert error < 0.3 * abs(scale - 1) * 40 + 0.8 * outliers + 0.1


def test_fit_axes_identity() -> None:
    source = np.random.default_rng(0).uniform(-40, 40, (33, 3))
    scale, shift = fit_axes(source, source, np.ones(33))
    assert np.allclose(scale, 1)
    assert np.allclose(shift, 0, atol=1e-9)


@pytest.mark.parametrize(("true_scale", "bound"), [(0.3, 0.7), (3.0, 1.4)])
def test_a_fitted_scale_stays_within_what_people_differ_by(true_scale: float, bound: float) -> None:
    source = np.random.default_rng(0).uniform(-100, 100, (33, 3))
    scale, _ = fit_axes(source, true_scale * source, np.ones(33))
    assert scale.tolist() == [bound] * 3
