"""What is drawn when: a draw depends on its number alone, whichever process, worker or resumed run draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.localize.network.encoder import EncoderConfig
from medlsam.localize.pretrain.dataset import (
    PairDataset,
    PairLoader,
    StepSampler,
    collate,
)
from medlsam.localize.pretrain.intensity import Intensity, IntensityOptions
from medlsam.localize.pretrain.view_pairs import PairPlan, ViewOptions, plan_pair
from medlsam.pool.packed_scan import SUFFIX, PackedScan, write_packed_scan
from medlsam.volume import Image
from medlsam.volume.hounsfield import AIR_HU
from tests.support.data.array_scan import ArrayScan

OPTIONS = ViewOptions(shape_zyx=(16, 16, 16), points=8, negatives=8, elastic_mm=2.0)


@pytest.fixture
def draws(tmp_path: Path) -> PairDataset:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{name}{SUFFIX}" for name in "ab"]
    for path in paths:
        array = rng.integers(-1000, 1000, (30, 32, 34)).astype(np.int16)
        write_packed_scan(path, Image(array, Grid(array.shape, (4.0, 4.0, 4.0))))
    return PairDataset(paths, np.array([1.0, 3.0]), OPTIONS, 4.0, (7,))


@pytest.mark.parametrize("far", [0.0, 1.0])
def test_a_draw_from_a_shard_is_the_draw_from_the_unpacked_scan(tmp_path: Path, far: float) -> None:
    """Bit for bit, in a scan with bricks of air, and with views that reach beyond its border."""
    array = np.random.default_rng(0).normal(0, 400, (30, 41, 36)).astype(np.float32)
    array[:, :14, :] = -1024
    write_packed_scan(tmp_path / "a", Image(array, Grid(array.shape, (4.0, 4.0, 4.0))))
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


def test_planning_unpacks_no_scan(draws: PairDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    codes = PackedScan._codes

    def counted(self: PackedScan, low: Sequence[int], high: Sequence[int]) -> NDArray[np.uint8]:
        sizes.append(int(np.prod(np.subtract(high, low))))
        return codes(self, low, high)

    monkeypatch.setattr(PackedScan, "_codes", counted)
    draws[0]
    assert len(sizes) == 2  # a block for each view, and nothing for the points
    assert max(sizes) < 30 * 32 * 34


def test_a_draw_depends_on_its_number_alone(draws: PairDataset) -> None:
    alone = collate([draws[11]]).render(EncoderConfig())
    torch.manual_seed(5)  # the global generators have no say
    np.random.seed(5)
    among = collate([draws[10], draws[11]]).render(EncoderConfig())
    assert alone.keys() == among.keys()
    for name, value in alone.items():
        assert torch.equal(value[0], among[name][1]), name
    assert not torch.equal(among["views"][0], among["views"][1])


def test_a_batch_travels_as_codes_and_scans_of_other_tables_go_together(draws: PairDataset) -> None:
    one, other = draws[1], draws[2]
    together = collate([one, other])
    assert together.values.dtype == torch.uint8
    levels = one.pair.views[0].levels_hu
    assert levels is not None
    brighter = tuple(replace(view, levels_hu=levels + np.float32(100)) for view in other.pair.views)
    mixed = collate([one, replace(other, pair=replace(other.pair, views=brighter))])
    assert mixed.values.dtype == torch.float32
    views, apart = (batch.render(EncoderConfig())["views"] for batch in (together, mixed))
    assert torch.equal(views[0], apart[0])
    assert not torch.equal(views[1], apart[1])
    table = [view.hu for view in other.pair.views]
    for view, hu in zip(brighter, table, strict=True):
        assert torch.equal(view.hu, hu + 100)


def test_loader_processes_change_nothing(draws: PairDataset) -> None:
    def views(workers: int) -> list[torch.Tensor]:
        loader = PairLoader(draws, StepSampler(3, 2, 2), workers, pinned=False)
        return [batch.render(EncoderConfig())["views"] for batch in loader]

    for one, other in zip(views(0), views(2), strict=True):
        assert torch.equal(one, other)


def test_processes_share_a_step_and_resume_where_it_ended() -> None:
    whole = list(StepSampler(0, 4, 6))
    parts = [list(StepSampler(0, 4, 6, rank, 3)) for rank in range(3)]
    assert whole == [list(chain(*shares)) for shares in zip(*parts, strict=True)]
    assert list(StepSampler(2, 2, 6)) == whole[2:]
    assert sorted(chain(*whole)) == list(range(24))


def test_each_view_of_a_pair_has_a_curve_of_its_own(draws: PairDataset) -> None:
    options = IntensityOptions(remap_probability=1.0)
    changed = PairDataset(draws.scans, np.ones(2), OPTIONS, 4.0, (7,), intensity=options)
    one, other = changed[3].intensity
    assert one.remap is not None
    assert other.remap is not None
    assert one.remap != other.remap
    held_out = PairDataset(draws.scans, np.ones(2), OPTIONS, 4.0, (7,), augmented=False, intensity=options)
    assert held_out[3].intensity[0].remap is None


def test_slices_are_thick_along_the_axis_of_the_scan(tmp_path: Path) -> None:
    """A scan of thin layers loses them in every view, however it is turned; one that varies in its slices does not."""
    layers = np.zeros((48, 48, 48), np.float32)
    layers[::2] = 200
    options = replace(OPTIONS, cut_probability=0.0, shift_mm=8.0, elastic_mm=0.0, scale=0.0)

    def contrast(array: NDArray[np.float32], thick: float) -> float:
        path = tmp_path / f"{thick}-{array.strides}{SUFFIX}"
        write_packed_scan(path, Image(np.ascontiguousarray(array), Grid(array.shape, (4.0, 4.0, 4.0))))
        one = PairDataset(
            [path], np.ones(1), options, 4.0, (7,), intensity=IntensityOptions(thick_probability=thick)
        )
        pairs = [
            replace(pair, intensity=tuple(Intensity(slab_mm=how.slab_mm) for how in pair.intensity))
            for pair in (one[i] for i in range(3))
        ]
        inner = collate(pairs).render(EncoderConfig())["views"][..., 5:11, 5:11, 5:11]
        return float(inner.std())

    assert contrast(layers, 1.0) < 0.6 * contrast(layers, 0.0)
    aside = layers.transpose(2, 1, 0)
    assert contrast(aside, 1.0) > 0.9 * contrast(aside, 0.0)


def test_partners_are_drawn_as_often_as_said_at_their_own_origin(tmp_path: Path) -> None:
    """Two flat phases, the second 100 HU brighter and on a grid that begins 8 mm further."""
    paths = [tmp_path / f"{name}{SUFFIX}" for name in "abc"]
    for path, level, origin in zip(paths, (0, 100, 0), ((0, 0, 0), (8.0, 0, -4.0), (0, 0, 0)), strict=True):
        array = np.full((30, 32, 34), level, np.float32)
        write_packed_scan(path, Image(array, Grid(array.shape, (4.0, 4.0, 4.0), origin)))

    def pairs(probability: float) -> list[PairPlan]:
        draws = PairDataset(
            paths,
            np.array([1.0, 1.0, 1.0]),
            replace(OPTIONS, cut_probability=0.0, shift_mm=8.0),
            4.0,
            (7,),
            partners=[[1], [0], []],
            phase_probability=probability,
        )
        return [draws[i].pair for i in range(200)]

    mixed = sum(float(a.hu.max()) != float(b.hu.max()) for a, b in (pair.views for pair in pairs(0.5)))
    assert mixed / 200 == pytest.approx(2 / 3 / 2, abs=0.09)
    assert all(float(a.hu.max()) == float(b.hu.max()) for a, b in (pair.views for pair in pairs(0.0)))
    always = pairs(1.0)
    assert all(bool(pair.valid.any()) for pair in always)
    others = [pair for pair in always if float(pair.views[0].hu.max()) < 50 < float(pair.views[1].hu.max())]
    # Places count from the first view's scan: the second one's begin at 8 mm, up to the margin of nearest voxels.
    places = torch.cat([pair.places[pair.valid] for pair in others])
    assert 6.0 - 1e-3 <= float(places[:, 0].min()) < 16
