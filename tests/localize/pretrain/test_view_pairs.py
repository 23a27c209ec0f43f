"""View pairs: the points that are said to be the same place are the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.localize.network.sampling import sample_map
from medlsam.localize.pretrain.view_pairs import PlacedScan, ViewOptions, plan_pair
from medlsam.volume.hounsfield import AIR_HU
from tests.support.data.array_scan import ArrayScan, draw_pair

OPTIONS = ViewOptions(shape_zyx=(32, 32, 32), points=64, negatives=32, shift_mm=40.0)


def smooth_scan() -> torch.Tensor:
    """A scan whose value tells the place: 10 * x + 3 * y - 5 * z (voxels), all of it denser than air."""
    z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in (60, 70, 80)], indexing="ij")
    return 10 * x + 3 * y - 5 * z


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_coordinates_are_exact(seed: int) -> None:
    options = ViewOptions(**{**vars(OPTIONS), "cut_probability": 0.0})
    views, pair = draw_pair(smooth_scan(), 4.0, options, np.random.default_rng(seed))
    places = pair.places[pair.valid] / 4.0
    expected = 10 * places[:, 0] + 3 * places[:, 1] - 5 * places[:, 2]
    inside = ((places > 3) & (places < torch.tensor([76.0, 66.0, 56.0]))).all(dim=1)
    for view, points in zip(views, pair.points, strict=True):
        seen = sample_map(view[None, None], points[pair.valid][None], 1)[0, :, 0]
        assert torch.allclose(seen[inside], expected[inside], atol=0.5)


def test_far_views_come_from_all_over_the_scan() -> None:
    scan = torch.zeros(200, 40, 40)
    near = ViewOptions(**{**vars(OPTIONS), "cut_probability": 0.0})
    far = ViewOptions(**{**vars(near), "far_probability": 1.0})

    def distance(options: ViewOptions) -> float:
        pairs = [draw_pair(scan, 4.0, options, np.random.default_rng(i))[1] for i in range(12)]
        means = [pair.negative_places.mean(dim=1) for pair in pairs]
        return max(float((m[0] - m[1]).abs()[2]) for m in means)

    assert distance(near) < 60.0
    assert distance(far) > 150.0


def test_the_same_generator_gives_the_same_pair() -> None:
    scan = smooth_scan()
    first, second = (draw_pair(scan, 4.0, OPTIONS, np.random.default_rng(3)) for _ in range(2))
    other = draw_pair(scan, 4.0, OPTIONS, np.random.default_rng(4))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1].places, second[1].places)
    assert not torch.equal(first[0], other[0])


def test_negatives_carry_their_place() -> None:
    scan = smooth_scan()
    options = ViewOptions(**{**vars(OPTIONS), "cut_probability": 0.0})
    views, pair = draw_pair(scan, 4.0, options, np.random.default_rng(0))
    places = pair.negative_places[0] / 4.0
    seen = sample_map(views[:1, None], pair.negatives[:1], 1)[0, :, 0]
    inside = ((places > 3) & (places < torch.tensor([76.0, 66.0, 56.0]))).all(dim=1)
    assert inside.sum() > 5
    expected = 10 * places[:, 0] + 3 * places[:, 1] - 5 * places[:, 2]
    assert torch.allclose(seen[inside], expected[inside], atol=0.5)


def test_points_lie_in_the_body() -> None:
    scan = torch.full((60, 60, 60), AIR_HU)
    scan[20:40, 20:40, 20:40] = 40.0
    _, pair = draw_pair(scan, 4.0, OPTIONS, np.random.default_rng(1))
    places = pair.places[pair.valid] / 4.0
    assert len(places) > 0
    assert (places >= 18).all()
    assert (places <= 41).all()


def test_a_scan_smaller_than_a_view() -> None:
    views, pair = draw_pair(torch.zeros(10, 12, 14), 4.0, OPTIONS, np.random.default_rng(0))
    assert views.shape == (2, 32, 32, 32)
    assert pair.valid.any()
    assert views.min() == pytest.approx(AIR_HU)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), far=st.sampled_from([0.0, 1.0]))
def test_places_of_another_phase_are_exact(seed: int, far: float) -> None:
    """The second scan begins elsewhere, by no whole voxels, and is darker: both views say the same places."""
    start = np.array([5.25, -3.5, 2.0])
    origin = 10 * start[0] + 3 * start[1] - 5 * start[2]
    options = ViewOptions(**{**vars(OPTIONS), "cut_probability": 0.0, "far_probability": far})
    one, other = smooth_scan(), smooth_scan()[:50] + float(origin) - 70  # both say their place in the first
    second = PlacedScan(ArrayScan(other.numpy()), start)
    pair = plan_pair(ArrayScan(one.numpy()), 4.0, options, np.random.default_rng(seed), second)
    views = [view.draw(AIR_HU) for view in pair.views]
    places = pair.places[pair.valid] / 4.0
    negatives = pair.negative_places / 4.0
    for i, (darker, low, high) in enumerate(
        [(0, [0, 0, 0], [79, 69, 59]), (70, start, start + np.array([79, 69, 49]))]
    ):
        for points, at in ((pair.points[i][pair.valid], places), (pair.negatives[i], negatives[i])):
            low_t, high_t = (torch.as_tensor(np.asarray(v), dtype=torch.float32) for v in (low, high))
            inside = ((at > low_t + 3) & (at < high_t - 3)).all(dim=1)
            expected = 10 * at[:, 0] + 3 * at[:, 1] - 5 * at[:, 2] - darker
            seen = sample_map(views[i][None, None], points[None], 1)[0, :, 0]
            assert torch.allclose(seen[inside], expected[inside], atol=0.5)
    last = torch.as_tensor(start + np.array([79, 69, 49]), dtype=torch.float32)
    assert (places <= last + 0.5).all()  # no common place where the second scan has ended


def test_another_phase_that_is_the_same_scan_changes_nothing() -> None:
    scan = ArrayScan(smooth_scan().numpy())
    plain = plan_pair(scan, 4.0, OPTIONS, np.random.default_rng(3))
    same = plan_pair(scan, 4.0, OPTIONS, np.random.default_rng(3), PlacedScan(scan, np.zeros(3)))
    assert torch.equal(plain.points, same.points)
    assert torch.equal(plain.negative_places, same.negative_places)
    assert torch.equal(plain.views[1].draw(AIR_HU), same.views[1].draw(AIR_HU))
