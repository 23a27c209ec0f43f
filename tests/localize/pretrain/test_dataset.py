"""What is drawn when, on which device and how often: draws, intensity, balance, and what processes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.pretrain import losses
from medlsam.localize.pretrain.balance import balanced_weights
from medlsam.localize.pretrain.dataset import (
    DrawLoader,
    PairDraws,
    StepBatches,
    gather,
)
from medlsam.localize.pretrain.feed import PretrainFeed
from medlsam.localize.pretrain.intensity import Intensity, change_intensity, draw_intensity
from medlsam.localize.pretrain.view_pairs import AIR_HU, ViewOptions, plan_pair
from medlsam.localize.pretrain.view_transform import random_frame
from medlsam.localize.pretrain.viewplan import plan_view
from medlsam.pool.packed_scan import SUFFIX, PackedScan, write_packed_scan
from medlsam.training import sync_batchnorm as shared_norm
from medlsam.training.sync_batchnorm import SharedBatchNorm, SharedStatistics
from medlsam.volume import Volume
from tests.support.array_scan import ArrayScan

OPTIONS = ViewOptions(shape_zyx=(16, 16, 16), points=8, negatives=8, elastic_mm=2.0)


@pytest.fixture
def draws(tmp_path: Path) -> PairDraws:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}{SUFFIX}" for name in "ab"]
    for path in paths:
        array = rng.integers(-1000, 1000, (30, 32, 34)).astype(np.int16)
        write_packed_scan(path, Volume(array, Grid(array.shape, (4.0, 4.0, 4.0))))
    return PairDraws(paths, np.array([1.0, 3.0]), OPTIONS, 4.0, (7,))


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


@pytest.mark.parametrize("far", [0.0, 1.0])
def test_a_draw_from_a_shard_is_the_draw_from_the_unpacked_scan(tmp_path: Path, far: float) -> None:
    """Bit for bit, in a scan with bricks of air, and with views that reach beyond its border."""
    array = np.random.default_rng(0).normal(0, 400, (30, 41, 36)).astype(np.float32)
    array[:, :14, :] = -1024
    write_packed_scan(tmp_path / "a", Volume(array, Grid(array.shape, (4.0, 4.0, 4.0))))
    shard, options = PackedScan(tmp_path / "a"), replace(OPTIONS, far_probability=far, shift_mm=16.0)
    unpacked = ArrayScan(shard.read().array)
    seen = 0
    for seed in range(6):
        one, other = (
            plan_pair(scan, 4.0, options, np.random.default_rng(seed)) for scan in (shard, unpacked)
        )
        seen += int(one.valid.sum())
        for name in ("points", "places", "valid", "negatives", "negative_places"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for left, right in zip(one.views, other.views, strict=True):
            assert left.block.dtype == torch.uint8
            assert torch.equal(left.hu, right.hu)
            assert torch.equal(left.draw(AIR_HU), right.draw(AIR_HU))
            assert (left.frame.centre == right.frame.centre).all()
    assert seen > 0


def test_planning_unpacks_no_scan(draws: PairDraws, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    codes = PackedScan._codes

    def counted(self: PackedScan, low: Sequence[int], high: Sequence[int]) -> NDArray[np.uint8]:
        sizes.append(int(np.prod(np.subtract(high, low))))
        return codes(self, low, high)

    monkeypatch.setattr(PackedScan, "_codes", counted)
    draws[0]
    assert len(sizes) == 2  # a block for each view, and nothing for the points
    assert max(sizes) < 30 * 32 * 34


def test_a_draw_depends_on_its_number_alone(draws: PairDraws) -> None:
    alone = gather([draws[11]]).render(EncoderConfig())
    torch.manual_seed(5)  # the global generators have no say
    np.random.seed(5)
    among = gather([draws[10], draws[11]]).render(EncoderConfig())
    assert alone.keys() == among.keys()
    for name, value in alone.items():
        assert torch.equal(value[0], among[name][1]), name
    assert not torch.equal(among["views"][0], among["views"][1])


def test_a_batch_travels_as_codes_and_scans_of_other_tables_go_together(draws: PairDraws) -> None:
    one, other = draws[1], draws[2]
    together = gather([one, other])
    assert together.values.dtype == torch.uint8
    levels = one.pair.views[0].levels_hu
    assert levels is not None
    brighter = tuple(replace(view, levels_hu=levels + np.float32(100)) for view in other.pair.views)
    mixed = gather([one, replace(other, pair=replace(other.pair, views=brighter))])
    assert mixed.values.dtype == torch.float32
    views, apart = (batch.render(EncoderConfig())["views"] for batch in (together, mixed))
    assert torch.equal(views[0], apart[0])
    assert not torch.equal(views[1], apart[1])
    table = [view.hu for view in other.pair.views]
    for view, hu in zip(brighter, table, strict=True):
        assert torch.equal(view.hu, hu + 100)


def test_loader_processes_change_nothing(draws: PairDraws) -> None:
    def views(workers: int) -> list[torch.Tensor]:
        loader = DrawLoader(draws, StepBatches(3, 2, 2), workers, pinned=False)
        return [batch.render(EncoderConfig())["views"] for batch in loader]

    for one, other in zip(views(0), views(2), strict=True):
        assert torch.equal(one, other)


def test_processes_share_a_step_and_resume_where_it_ended() -> None:
    whole = list(StepBatches(0, 4, 6))
    parts = [list(StepBatches(0, 4, 6, rank, 3)) for rank in range(3)]
    assert whole == [list(chain(*shares)) for shares in zip(*parts, strict=True)]
    assert list(StepBatches(2, 2, 6)) == whole[2:]
    assert sorted(chain(*whole)) == list(range(24))


def test_a_step_that_cannot_be_shared_is_told() -> None:
    feed = PretrainFeed(phantoms=1, scans_per_step=3)
    with pytest.raises(UsageError, match="multiple of 2"):
        feed.check_share(2)


def test_intensity_is_drawn_by_seed_on_the_device() -> None:
    view = torch.linspace(-0.1, 1, 16**3).reshape(16, 16, 16)
    how = Intensity(gamma=1.2, blur=(0.5, 0.0, 0.8), noise=0.05, seed=3)
    torch.manual_seed(1)
    first = change_intensity(view, how)
    torch.manual_seed(2)
    assert torch.equal(first, change_intensity(view, how))
    assert not torch.equal(first, change_intensity(view, replace(how, seed=4)))
    quiet = change_intensity(view, replace(how, noise=0.0))
    assert float((first - quiet).std()) == pytest.approx(0.05, rel=0.05)
    assert torch.equal(change_intensity(view, Intensity()), view.clamp(min=0))


def test_blur_keeps_what_is_flat_and_spreads_a_point() -> None:
    point = torch.zeros(9, 9, 9)
    point[4, 4, 4] = 1
    blurred = change_intensity(point, Intensity(blur=(0.8, 0.0, 0.0)))
    assert float(blurred.sum()) == pytest.approx(1.0)
    assert float(blurred[:, 4, 4].sum()) == pytest.approx(1.0)  # along z only
    offsets = torch.arange(9) - 4.0
    assert float((blurred[:, 4, 4] * offsets**2).sum()) == pytest.approx(0.64, rel=0.02)
    flat = torch.full((5, 6, 7), 0.3)
    assert torch.allclose(change_intensity(flat, Intensity(blur=(0.7, 0.7, 0.7))), flat)


def test_changes_come_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_intensity(rng) for _ in range(2000)]
    assert np.mean([how.gamma != 1 for how in drawn]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([how.blur is not None for how in drawn]) == pytest.approx(0.25, abs=0.05)
    assert np.mean([how.noise > 0 for how in drawn]) == pytest.approx(0.5, abs=0.05)


def test_balance_makes_groups_equal_and_leaves_the_rest() -> None:
    groups = [("a", "head")] * 90 + [("b", "head")] * 10 + [None] * 2
    weights = np.ones(102)

    def shares(balance: float) -> list[float]:
        balanced = balanced_weights(weights, groups, balance)
        assert balanced.sum() == pytest.approx(102)
        return [float(part.sum()) for part in np.split(balanced, [90, 100])]

    assert shares(0) == pytest.approx([90, 10, 2])
    assert shares(1) == pytest.approx([50, 50, 2])
    assert shares(0.5) == pytest.approx([75, 25, 2])  # roots of 9 to 1
    weights[:10] = 2  # the ratios within a group stay
    balanced = balanced_weights(weights, groups, 1)
    assert balanced[0] == pytest.approx(2 * balanced[20])


def test_balance_leaves_a_pool_that_knows_no_groups() -> None:
    weights = np.array([0.1, 0.4])
    assert balanced_weights(weights, [None, None], 1.0) is weights


def test_a_group_that_is_switched_off_stays_off() -> None:
    balanced = balanced_weights(np.array([0.0, 1.0, 3.0]), [("a", ""), ("b", ""), ("c", "")], 1.0)
    assert balanced == pytest.approx([0.0, 2.0, 2.0])


@given(share=st.floats(0.01, 0.99), balance=st.floats(0, 1))
def test_balance_never_turns_the_order_of_groups(share: float, balance: float) -> None:
    weights = np.array([share, 1 - share])
    balanced = balanced_weights(weights, [("a", ""), ("b", "")], balance)
    assert (balanced[0] - balanced[1]) * (weights[0] - weights[1]) >= -1e-9


def test_the_mean_over_processes_is_the_mean_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.rand(5, generator=generator), torch.rand(3, generator=generator)]
    valid = [torch.tensor([True, True, False, True, True]), torch.tensor([True, False, False])]
    whole = losses.valid_mean(torch.cat(values), torch.cat(valid))
    monkeypatch.setattr(losses, "process_count", lambda: 2)
    monkeypatch.setattr(losses, "total_over_processes", lambda count: torch.tensor(5.0))
    parts = [losses.valid_mean(v, m) for v, m in zip(values, valid, strict=True)]
    assert torch.isclose(torch.stack(parts).mean(), whole)


@pytest.fixture
def one_process_group() -> Iterator[None]:
    """A group of one, over which a sum is the value itself."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process_group")
def test_shared_normalisation_is_batch_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_norm, "process_count", lambda: 2)  # or it would step aside
    plain = nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4)).double()
    shared = nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4)).double()
    shared.load_state_dict(plain.state_dict())
    shared = SharedStatistics().apply(shared)
    assert isinstance(shared[1], SharedBatchNorm)
    values = torch.randn(3, 1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        results = [network(values) for network in (plain, shared)]
        for result in results:
            (result**3).mean().backward()
        assert torch.allclose(*results)
    for one, other in zip(plain.parameters(), shared.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad)
    back = SharedStatistics().revert(shared)
    assert type(back[1]) is nn.BatchNorm3d
    assert back.state_dict().keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, back.state_dict()[name]), name
