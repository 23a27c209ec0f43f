"""The sliding window: every voxel is seen, in its place, and weighted by the Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.lesion.inception.sliding_window import gaussian, sliding_window, starts

PATCH = (4, 6, 8)


def pointwise(windows: Tensor) -> Tensor:
    """Logits that depend on the voxel alone: windows must not change the answer."""
    return torch.cat([torch.zeros_like(windows), windows], 1)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(1, 19)] * 3), st.sampled_from([0.0, 0.3, 0.5, 0.75]), st.integers(1, 3))
def test_a_pointwise_network_gives_its_own_answer(
    shape: tuple[int, int, int], overlap: float, batch: int
) -> None:
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = sliding_window(volume, pointwise, PATCH, 2, overlap=overlap, batch=batch)
    assert found.shape == (2, *shape)
    np.testing.assert_allclose(found[1], 1 / (1 + np.exp(-volume)), rtol=1e-5)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(8, 40)] * 3), st.sampled_from([0.0, 0.5, 0.75]))
def test_windows_cover_all_and_overlap_as_asked(shape: tuple[int, int, int], overlap: float) -> None:
    seen = np.zeros(shape, int)
    places = list(starts(shape, PATCH, overlap))
    for place in places:
        seen[tuple(slice(a, a + n) for a, n in zip(place, PATCH, strict=True))] += 1
    assert seen.min() >= 1
    for axis in range(3):
        own = sorted({place[axis] for place in places})
        assert max(np.diff(own), default=0) <= round(PATCH[axis] * (1 - overlap)) + 1
        assert own[-1] + PATCH[axis] == shape[axis]


def test_the_middle_of_a_window_counts_more() -> None:
    """Two windows that disagree: the answer goes over from one to the other by their Gaussians."""
    volume = np.zeros((4, 6, 12), np.float32)
    calls = []

    def network(windows: Tensor) -> Tensor:
        calls.append(1)
        return torch.stack([torch.zeros(PATCH), torch.full(PATCH, 20.0 if len(calls) == 1 else -20.0)])[None]

    found = sliding_window(volume, network, PATCH, 2)[1, 2, 3]
    assert len(calls) == 2
    weight = gaussian(PATCH)[2, 3]
    expected = weight[4:] / (weight[4:] + weight[:4])
    np.testing.assert_allclose(found[4:8], expected, atol=1e-5)
    assert found[0] > 0.999
    assert found[-1] < 0.001
    assert weight.max() == weight[3] == weight[4]


def test_mirrored_windows_are_turned_back() -> None:
    """A network that shifts along x gives a symmetric answer."""

    def shifting(windows: Tensor) -> Tensor:
        return pointwise(windows.roll(1, -1))

    volume = np.zeros(PATCH, np.float32)
    volume[2, 3, 4] = 5
    found = sliding_window(volume, shifting, PATCH, 2, mirror=True)[1]
    np.testing.assert_allclose(found[2, 3, 3], found[2, 3, 5])
    assert found[2, 3, 3] > 0.7
    assert found[2, 3, 4] == pytest.approx(0.5)


def test_an_overlap_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="overlap is a share"):
        sliding_window(np.zeros(PATCH, np.float32), pointwise, PATCH, 2, overlap=1.0)
