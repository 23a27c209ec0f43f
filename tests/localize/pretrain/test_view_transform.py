"""Frames and plans: bends that can be undone, and views drawn from the block that they touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.localize.network.sampling import sample_map
from medlsam.localize.pretrain.view_transform import plan_view, random_frame
from medlsam.volume.hounsfield import AIR_HU
from tests.support.data.array_scan import ArrayScan


def smooth_scan() -> torch.Tensor:
    """A scan whose value tells the place: 10 * x + 3 * y - 5 * z (voxels), all of it denser than air."""
    z, y, x = torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in (60, 70, 80)], indexing="ij")
    return 10 * x + 3 * y - 5 * z


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bent_views_keep_their_coordinates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = random_frame((32, 32, 32), np.array([40.0, 35.0, 30.0]), 15.0, 0.12, 1.0, rng)
    points = rng.uniform(0, 31, (50, 3))
    places = frame.to_places(points)
    assert np.abs(frame.to_points(places) - points).max() < 0.05
    expected = 10 * places[:, 0] + 3 * places[:, 1] - 5 * places[:, 2]
    view = frame.draw(smooth_scan(), AIR_HU)
    seen = sample_map(view[None, None], torch.as_tensor(points, dtype=torch.float32)[None], 1)[
        0, :, 0
    ].numpy()
    inside = ((places > 3) & (places < [76.0, 66.0, 56.0])).all(axis=1)
    assert inside.any()
    assert np.abs(seen - expected)[inside].max() < 6.0  # the bend is piecewise linear between voxels


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_view_of_its_block_is_the_view_of_the_scan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scan = torch.as_tensor(rng.normal(0, 300, (40, 44, 48)), dtype=torch.float32)
    frame = random_frame((16, 16, 16), rng.uniform(0, 44, 3), 15.0, 0.12, 1.0, rng)
    whole = ((0, 16), (0, 16), (0, 16))
    plan = plan_view(ArrayScan(scan.numpy()), frame, whole)
    assert plan.block.numel() < scan.numel()
    assert torch.allclose(plan.draw(AIR_HU), frame.draw(scan, AIR_HU), atol=0.05)
    cut = replace(plan, keep=((0, 16), (4, 16), (0, 16)))
    assert (cut.draw(AIR_HU)[:, :4] == AIR_HU).all()
    assert torch.equal(cut.draw(AIR_HU)[:, 4:], plan.draw(AIR_HU)[:, 4:])
    assert cut.uncut(np.array([[3.0, 3.6, 1.0], [3.0, 3.4, 1.0]])).tolist() == [True, False]
