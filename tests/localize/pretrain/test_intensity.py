"""Changes of intensity: drawn by seed, as often and as far as said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medlsam.localize.pretrain.intensity import Intensity, change_intensity, draw_intensity


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
