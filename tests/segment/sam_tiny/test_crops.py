"""Crops around boxes, and masks put back into their slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.sam_tiny import crops as tiny_crops
from medlsam.segment.sam_tiny.crops import CropFrame, CropItem, draw_boxes, empty_block, frame_around, write
from medlsam.volume.hounsfield import LOWEST_HU


def test_crop_of_a_ramp_reads_the_positions(rng: np.random.Generator) -> None:
    """A plane that holds its own coordinates shows where each crop pixel was read, turned and mirrored."""
    v, u = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    frame = CropFrame((24.3, 19.2), 30.0, (1.5, 2.5), angle=0.4, mirrored=True)
    crop = tiny_crops.sample(np.stack([u, v]), frame, 16).numpy()
    places = (np.arange(16) + 0.5) / 16
    expected = frame.to_pixels(np.stack(np.meshgrid(places, places, indexing="xy"), axis=-1))
    np.testing.assert_allclose(crop.transpose(1, 2, 0), expected, atol=1e-3)
    np.testing.assert_allclose(frame.from_pixels(expected)[3, 5], [places[5], places[3]], atol=1e-9)


def test_crop_that_shrinks_is_averaged_and_stays_in_place() -> None:
    plane = np.zeros((200, 200))
    plane[80:120, 90:130] = 100.0
    frame = CropFrame((99.5, 99.5), 200.0, (1.0, 1.0))
    crop = tiny_crops.sample(plane[None], frame, 20)[0].numpy()
    weights = np.arange(20) * 10 + 4.5
    assert crop.sum() * 100 == pytest.approx(plane.sum(), rel=0.02)
    assert (crop.sum(0) * weights).sum() / crop.sum() == pytest.approx(109.5, abs=0.6)
    assert (crop.sum(1) * weights).sum() / crop.sum() == pytest.approx(99.5, abs=0.6)


@pytest.mark.parametrize("side", [30.0, 90.0, 260.0])
def test_an_upright_crop_is_read_as_a_turned_one(rng: np.random.Generator, side: float) -> None:
    """Of two ways to the same numbers the quick one is for upright crops: larger than its part, and over the edge."""
    planes = rng.normal(0, 500, (2, 61, 83))
    upright = CropFrame((33.7, 8.2), side, (1.5, 0.8))
    barely = replace(upright, angle=1e-9)
    assert upright.upright
    assert not barely.upright
    quick, slow = (tiny_crops.sample(planes, frame, 24).numpy() for frame in (upright, barely))
    assert (quick == LOWEST_HU).any()
    np.testing.assert_allclose(quick, slow, atol=0.02)


def test_paste_is_bilinear_and_goes_on_at_the_border(rng: np.random.Generator) -> None:
    crops = rng.normal(size=(2, 12, 12)).astype(np.float32)
    frame = CropFrame((20.3, 14.9), 24.0, (1.5, 0.8))
    found = tiny_crops.paste(torch.from_numpy(crops), frame, (9, -3), (40, 25)).numpy()
    rows, columns = np.meshgrid(np.arange(40) - 3, np.arange(25) + 9, indexing="ij")
    at = frame.from_pixels(np.stack([columns, rows], axis=-1)) * 12 - 0.5
    expected = [ndimage.map_coordinates(c, [at[..., 1], at[..., 0]], order=1, mode="nearest") for c in crops]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_a_crop_all_is_pasted_that_is_more_than_nothing(rng: np.random.Generator) -> None:
    """Wherever the crop lies, also over the slice's border: what the window leaves out is below 2 %."""
    for _ in range(200):
        spacing = (float(rng.uniform(0.5, 3)), float(rng.uniform(0.5, 3)))
        center = rng.uniform([-5, -5], [65, 45])
        frame = CropFrame((float(center[0]), float(center[1])), float(rng.uniform(20, 90)), spacing)
        corners = frame.to_pixels([[0, 0], [1, 1]])
        low = np.clip(np.ceil(corners[0]), 0, [59, 39]).astype(int)
        high = np.clip(np.floor(corners[1]) + 1, low + 1, [60, 40]).astype(int)
        prompt = SlicePrompt(0, (10.0, 10.0, 20.0, 20.0))
        item = CropItem("a", prompt, frame, (int(low[0]), int(low[1])), (int(high[0]), int(high[1])))
        logits = torch.full((12, 12), -9.0)
        x, y = rng.integers(0, 10, 2)
        logits[y : y + int(rng.integers(1, 4)), x : x + int(rng.integers(1, 4))] = float(rng.uniform(-3, 9))
        found = empty_block([item])
        write(found, item, logits)
        shape = found.probability.shape[1:]
        whole = tiny_crops.paste(logits[None], frame, item.low_xy, (shape[0], shape[1]))[0].sigmoid().numpy()
        said = (whole >= 0.02) | (found.probability[0] > 0)
        np.testing.assert_allclose(found.probability[0][said], whole[said], atol=1e-6)


def test_paste_undoes_the_crop() -> None:
    v, u = np.meshgrid(np.arange(40.0), np.arange(50.0), indexing="ij")
    frame = frame_around((10, 12, 30, 22), (1.5, 2.0), 1.0, 36.0)
    crops = tiny_crops.sample(np.stack([u, v]), frame, 32)
    back = tiny_crops.paste(crops, frame, (12, 13), (9, 16)).numpy()
    np.testing.assert_allclose(back[0], u[13:22, 12:28], atol=1e-2)
    np.testing.assert_allclose(back[1], v[13:22, 12:28], atol=1e-2)


def test_box_in_the_crop() -> None:
    frame = frame_around((9.5, 19.5, 29.5, 29.5), (2.0, 1.0), 2.0, 10.0)
    assert frame.side_mm == 80.0
    np.testing.assert_allclose(frame.box((9.5, 19.5, 29.5, 29.5), 80), [20, 35, 60, 45])


def test_channels_are_windows_from_minus_one_to_one() -> None:
    crop = torch.tensor([40.0, 240.0, -1000.0]).reshape(3, 1, 1)
    made = tiny_crops.channels(crop, ((-160.0, 240.0), (-500.0, 1300.0)))
    assert made.flatten().tolist() == pytest.approx([0.0, -0.4, 1.0, -1.0])


def test_a_box_is_drawn_to_fractions_of_a_pixel() -> None:
    drawn = draw_boxes(torch.tensor([[1.0, 0.5, 3.0, 2.0], [-5.0, 2.0, 9.0, 3.0]]), torch.zeros(2), 4)
    assert drawn.shape == (2, 4, 4)
    assert torch.equal(drawn[0], torch.tensor([[0, 0.5, 0.5, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]))
    assert torch.equal(drawn[1], torch.tensor([[0.0] * 4, [0.0] * 4, [1.0] * 4, [0.0] * 4]))


def test_sides_that_may_be_off_are_drawn_as_ramps() -> None:
    box = torch.tensor([[10.0, -100.0, 30.0, 100.0]])
    row = draw_boxes(box, torch.tensor([2.0 / 3**0.5]), 40)[0, 20]  # off by up to 2 pixels, all errors alike
    expected = torch.tensor([0.0, 0.125, 0.375, 0.625, 0.875, 1.0])
    torch.testing.assert_close(row[7:13], expected)
    torch.testing.assert_close(row.flip(0)[7:13], expected)
    assert (row[13:27] == 1).all()
