"""Changes of intensity: drawn by seed, as often and as far as said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medlsam.localize.network.encoder import EncoderConfig, normalise_hu
from medlsam.localize.pretrain.intensity import (
    REMAP_KNOTS,
    Intensity,
    IntensityOptions,
    change_intensity,
    draw_intensity,
    thick_slices,
)


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


def curves(count: int) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(0)
    drawn = [draw_intensity(rng, IntensityOptions(remap_probability=1.0)).remap for _ in range(count)]
    return [curve for curve in drawn if curve is not None]


def test_a_curve_moves_soft_tissue_and_nothing_else() -> None:
    """Air, lung, fat below -150 HU and bone above 400 HU stay bit for bit; the curve goes through its knots."""
    config = EncoderConfig()
    outside = normalise_hu(torch.tensor([-1100.0, -1000, -600, -200, -151, 401, 700, 1500, 3000]), config)
    knots = torch.as_tensor(REMAP_KNOTS, dtype=torch.float32)
    between = (knots[1:] + knots[:-1]) / 2
    for curve in curves(20):
        how = Intensity(remap=curve)
        assert torch.equal(change_intensity(outside, how), outside.clamp(min=0))
        values = torch.as_tensor(curve, dtype=torch.float32)
        assert torch.allclose(change_intensity(knots[None, None], how)[0, 0], values, atol=1e-6)
        middles = change_intensity(between[None, None], how)[0, 0]
        assert torch.allclose(middles, (values[1:] + values[:-1]) / 2, atol=1e-6)
        assert float((values - knots).abs().max()) > 0.01


def test_two_thirds_of_the_curves_keep_the_order_of_tissues() -> None:
    drawn = np.array(curves(600))
    assert len(drawn) == 600
    assert drawn.min() >= REMAP_KNOTS[0]
    assert drawn.max() <= REMAP_KNOTS[-1]
    rising = (np.diff(drawn, axis=1) > 0).all(axis=1)
    assert rising.mean() == pytest.approx(2 / 3, abs=0.06)
    moved_hu = (drawn - REMAP_KNOTS) / 0.6 * 400
    assert 20 < moved_hu[:, 6].std() < 90  # moderate: the middle of the range


def test_curves_come_as_often_as_said_and_draw_nothing_where_they_are_off() -> None:
    rng, plain = np.random.default_rng(0), np.random.default_rng(0)
    drawn = [draw_intensity(rng, IntensityOptions(remap_probability=0.3)) for _ in range(1000)]
    assert np.mean([how.remap is not None for how in drawn]) == pytest.approx(0.3, abs=0.05)
    rng = np.random.default_rng(0)
    assert draw_intensity(rng, IntensityOptions()) == draw_intensity(plain)
    assert rng.random() == plain.random()


@pytest.mark.parametrize("spacing_mm", [2.0, 4.0])
def test_thick_slices_leave_places(spacing_mm: float) -> None:
    """A ramp along z stays where it is but for the half slab at the ends, and nothing moves within slices."""
    rng = np.random.default_rng(0)
    z = torch.arange(40.0)[:, None, None]
    within = torch.as_tensor(rng.normal(0, 100, (1, 5, 6)), dtype=torch.float32)
    for _ in range(10):
        slab_mm = draw_intensity(rng, IntensityOptions(thick_probability=1.0)).slab_mm
        assert slab_mm is not None
        assert 5 <= slab_mm[0] <= 10
        assert 0 <= slab_mm[1] <= slab_mm[0]
        thick = thick_slices(10 * z + within, slab_mm, spacing_mm)
        ends = int(np.ceil(slab_mm[0] / spacing_mm))
        assert torch.allclose(thick[ends:-ends], (10 * z + within)[ends:-ends], atol=1e-3)
        assert float((thick - 10 * z - within).abs().max()) <= 5 * slab_mm[0] / spacing_mm


def test_thick_slices_blur_what_is_thin() -> None:
    """A bright slice of 2 mm in slices of 8 mm: a quarter as bright, no matter where they begin; its sum stays."""
    thin = torch.zeros(40, 3, 3)
    thin[20] = 100
    for before in (0.0, 2.0, 5.0):
        thick = thick_slices(thin, (8.0, before), 2.0)[:, 1, 1]
        assert 15 < float(thick.max()) < 26
        assert float(thick.sum()) == pytest.approx(100, rel=0.05)
        centre = float((thick * torch.arange(40.0)).sum() / thick.sum())
        assert abs(centre - 20) < 2  # in the slab that holds it
    codes = torch.full((3, 4, 5), 7, dtype=torch.int16)
    few = thick_slices(codes, (10.0, 9.9), 2.0)  # a block of less than a slab
    assert torch.allclose(few, codes.float())


def test_thick_slices_come_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_intensity(rng, IntensityOptions(thick_probability=0.4)) for _ in range(1000)]
    assert np.mean([how.slab_mm is not None for how in drawn]) == pytest.approx(0.4, abs=0.05)
