"""Mask prompts that are nearly right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medlsam.segment.sam_tiny import train_masks
from medlsam.segment.sam_tiny.train_arrays import Structure, TrainingCase
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_masks import MaskPrompt, near_slice, rough_mask
from medlsam.segment.sam_tiny.train_plane import TurnedPlane
from medlsam.segment.sam_tiny.train_samples import SampleSource
from medlsam.training.losses import hard_dice
from tests.support.data.tiny_data import SMALL, ellipsoid


@pytest.fixture(scope="module")
def case() -> TrainingCase:
    """An ellipsoid of radii 30, 22 and 20 mm in pixels of 1.5 x 2 mm, slices of 4 mm."""
    volume, mask = ellipsoid()
    made = TrainingCase("egg", "body", (4.0, 2.0, 1.5), {1: "egg"}, Path(), regions=("abdomen",))
    made.__dict__["image"], made.__dict__["labels"] = volume.array, mask.astype(np.uint8)
    where = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    z, y, x = (slice(int(w[0]), int(w[-1]) + 1) for w in where)
    made.structures.append(Structure("egg", 1, (z, y, x)))
    return made


def tight(prompt: MaskPrompt) -> np.ndarray:
    """The box of where a mask prompt is over a half."""
    rows, columns = (np.flatnonzero((prompt.probability > 0.5).any(axis=a)) for a in (1, 0))
    step = (prompt.where[2] - prompt.where[0]) / prompt.probability.shape[1]
    cells = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return np.tile(prompt.where[:2], 2) + step * cells


def test_undisturbed_it_is_the_mask(case: TrainingCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turned and mirrored too; a cell is 1.4 mm wide."""
    for name, value in {
        "_SHIFT_MM": 0,
        "_GROWN_MM": 0,
        "_BENT_MM": (0, 0),
        "_ADDED": 0,
        "_MISSING": 0,
    }.items():
        monkeypatch.setattr(train_masks, name, value)
    mask = case.labels[8] == 1
    for angle, mirrored in ((0.0, False), (0.3, True)):
        plane = TurnedPlane(case, 0, angle, mirrored)
        made = rough_mask(plane, mask, 8, np.random.default_rng(0))
        assert made is not None
        # corners of pixels stick out where a plane is turned
        np.testing.assert_allclose(made[1], plane.tight_box(mask), atol=1.5 if angle == 0 else 3)
        np.testing.assert_allclose(made[1], tight(made[0]), atol=1e-6)


def test_its_edges_are_off_by_some_millimetres_and_its_box_fits_it(case: TrainingCase) -> None:
    plane, mask = TurnedPlane(case, 0, 0.0, False), case.labels[8] == 1
    truth, generator = plane.tight_box(mask), np.random.default_rng(1)
    off, areas, soft = [], [], []
    for _ in range(300):
        made = rough_mask(plane, mask, 8, generator)
        assert made is not None
        prompt, box = made
        np.testing.assert_allclose(box, tight(prompt), atol=1e-6)
        off.append(box - truth)
        cell = (prompt.where[2] - prompt.where[0]) / prompt.probability.shape[0]
        areas.append((prompt.probability > 0.5).sum() * cell**2 / (mask.sum() * 1.5 * 2.0))
        soft.append(((prompt.probability > 0.1) & (prompt.probability < 0.9)).mean())
    # three quarters of the sides are off as the network is told, a normal distribution's standard deviation
    spread = np.quantile(np.abs(off), 0.68)
    assert spread == pytest.approx(SamplingConfig().rough_error_mm, abs=0.5)
    outward = np.mean(off, axis=0) * [-1, -1, 1, 1]
    assert np.abs(outward - outward.mean()).max() < 0.5, "all sides are alike"
    assert 0 < outward.mean() < 1.5, "the tight box of a wavy outline is a little too wide"
    assert min(areas) < 0.8, "pieces are missing"
    assert max(areas) > 1.15, "and added"
    assert max(soft) > 5 * min(soft), "sharp and blurred"


def test_past_the_end_it_is_smaller_and_may_be_nothing(case: TrainingCase) -> None:
    plane, mask = TurnedPlane(case, 0, 0.0, False), case.labels[8] == 1
    whole, less = (rough_mask(plane, mask, 8, np.random.default_rng(4), shrunk_mm=mm) for mm in (0.0, 4.0))
    assert whole is not None
    assert less is not None
    assert (less[0].probability > 0.5).sum() < 0.85 * (whole[0].probability > 0.5).sum()
    assert rough_mask(plane, mask, 8, np.random.default_rng(4), shrunk_mm=60.0) is None


def test_slices_are_near(rng: np.random.Generator) -> None:
    thin, thick = (np.array([near_slice(10, mm, rng) for _ in range(500)]) - 10 for mm in (2.0, 5.0))
    assert 0.5 < thin.std() * 2.0 / 2.0 < 1.5
    assert np.abs(thick).max() <= 2
    assert (thick == 0).mean() > 0.6


def test_samples_with_rough_masks_are_told_so(case: TrainingCase) -> None:
    """Of structures and of regions: the mask prompt lies on the mask, the error is that of rough masks."""
    for share in ({"nameless": 0.0}, {"nameless": 1.0, "body": 0.0}):
        sampling = SamplingConfig(prior=0.0, rough=1.0, empty=0.0, **share)
        source = SampleSource([case], SMALL, sampling)
        generator, dice = np.random.default_rng(3), []
        for _ in range(30):
            made = source.draw(generator)
            assert not made["mask_prompt"].isnan().any()
            # 2 mm in pixels of the crop, whose side is 32 mm to 2.8 times 90 mm
            assert 2.0 * 64 / 252 < made["error"] < 2.0 * 64 / 32
            hint = functional.interpolate(made["mask_prompt"][None, None], size=64)[0]
            dice.append(hard_dice(hint - 0.5, made["mask"][None]).item())
            inside = (made["mask_prompt"] > 0.5).nonzero().flip(1) * 2
            box = torch.cat([inside.min(0).values, inside.max(0).values + 2])
            assert (box - made["box"]).abs().max() < 6
        assert 0.75 < np.median(dice) < 0.99
