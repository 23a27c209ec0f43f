"""Slices, boxes and masks on their way into a whole-slice model and back; resizing as other libraries do it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.preprocess import (
    area,
    bilinear,
    prepare,
    restore,
    scale_boxes,
    scale_masks,
    spline,
    to_bytes,
)

SAM, MEDSAM, LITE = SEGMENTERS["sam_vit_b"], SEGMENTERS["medsam_vit_b"], SEGMENTERS["litemedsam"]
# skimage.transform.resize(picture, size, order=3, preserve_range=True, anti_aliasing=True), scikit-image 0.26
LARGER = [
    [0.249, 2.259, 15.003, 35.974, 50.267, 69.896, 109.156, 155.346, 169.55],
    [0.6, 4.986, 36.875, 81.317, 70.642, 72.272, 137.969, 162.008, 158.472],
    [4.661, 30.201, 130.299, 207.529, 123.994, 75.485, 183.639, 141.254, 93.288],
    [12.616, 73.053, 201.193, 186.967, 106.819, 66.664, 85.475, 41.697, 14.288],
    [13.057, 60.555, 134.229, 78.126, 61.773, 66.504, 35.392, 49.198, 63.435],
    [9.124, 13.002, 21.789, 28.811, 52.739, 79.899, 104.316, 159.015, 181.16],
    [15.399, 26.78, 87.619, 154.306, 111.789, 91.257, 183.318, 178.946, 154.461],
    [18.206, 38.044, 125.225, 203.411, 133.068, 93.448, 200.725, 170.927, 129.681],
]
SMALLER = [
    [3.932, 48.349, 146.65],
    [70.293, 130.998, 93.694],
    [35.4, 51.12, 101.466],
    [55.176, 142.471, 167.105],
]


def test_sam_window_mean_std_and_padding() -> None:
    # W400 L40 is -160..240 HU to 0..255: -160 -> 0, 40 -> 127.5 -> 127, 240 -> 255, beyond clipped
    image = np.array([[-1000, -160, 40, 240], [3000, 40, -60, 140]], dtype=np.int16)
    found = prepare(image, replace(SAM, input_size=4))
    levels = np.array([[0, 0, 127, 255], [255, 127, 63, 191]])
    assert found.shape == (1, 3, 4, 4)
    for channel, (mean, std) in enumerate([(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)]):
        np.testing.assert_allclose(found[0, channel, :2], (levels - mean) / std, atol=1e-5)
    assert (found[0, :, 2:] == 0).all()  # padded below, after the normalisation


def test_sam_longest_side_is_scaled_linearly() -> None:
    # two pixels 0 and 255 to four: half-pixel centres give 0, 1/4, 3/4, 1, in whole levels
    found = prepare(np.array([[-160, 240]]), replace(SAM, input_size=4))[0, 0]
    np.testing.assert_allclose(found[:2], (np.array([[0, 64, 191, 255]] * 2) - 123.675) / 58.395, atol=1e-5)
    assert (found[2:] == 0).all()


def test_sam_shrinks_with_antialiasing() -> None:
    stripes = np.tile([-160, 240], (16, 8))
    found = prepare(stripes, replace(SAM, input_size=4))[0, 0] * 58.395 + 123.675
    assert float((found - 127.5).abs().max()) < 30  # without it, a stripe would be hit or missed


def test_medsam_stretches_and_takes_each_slices_own_range() -> None:
    # -60 and 140 HU are the slice's least and most: 0 and 1, 40 HU in the middle; no mean, no std
    image = np.array([[-60, 40, 140, 40]], dtype=np.float32)
    found = prepare(image, replace(MEDSAM, input_size=4))
    np.testing.assert_allclose(found[0], np.broadcast_to([0, 0.5, 1, 0.5], (3, 4, 4)), atol=1e-5)
    clipped = prepare(np.array([[-1000, 40, 3000, 40]]), replace(MEDSAM, input_size=4))
    np.testing.assert_allclose(clipped[0, 0, 0], np.array([0, 127, 255, 127]) / 255, atol=1e-5)
    air = prepare(np.full((3, 4), -1000), replace(MEDSAM, input_size=4))
    assert (air == 0).all()


def test_medsam_is_resized_by_splines() -> None:
    edge = np.tile(np.array([-160, -160, -160, 240, 240, 240], dtype=np.float32), (6, 1))
    found = prepare(edge, replace(MEDSAM, input_size=12))[0, 0].numpy()
    np.testing.assert_allclose(found, spline(to_bytes(edge, MEDSAM), (12, 12)) / 255, atol=1e-6)
    assert 0.1 < found[5, 5] < 0.24  # a quarter of a pixel before the edge: nearest is 0, linear 0.25


def test_litemedsam_keeps_the_aspect_and_pads_with_zeros() -> None:
    # 8 x 4 to 4 x 2 by means of 2 x 2; the picture's own range to 0..1, then nothing right of it
    image = np.kron(np.array([[-160, 40], [240, 140]]), np.ones((4, 2)))
    found = prepare(image, replace(LITE, input_size=4))
    expected = np.array([[0, 127], [0, 127], [255, 191], [255, 191]]) / 255
    assert found.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(
        found[0], np.broadcast_to(np.pad(expected, ((0, 0), (0, 2))), (3, 4, 4)), atol=1e-6
    )


def test_boxes_scale_with_the_image() -> None:
    # 512 wide, 256 high: SAM doubles both; MedSAM stretches 2 and 4 times
    box = [9.5, 19.5, 29.5, 39.5]  # from the edge: 10, 20, 30, 40
    assert scale_boxes(box, (256, 512), SAM).tolist() == [[20, 40, 60, 80]]
    assert scale_boxes(box, (256, 512), MEDSAM).tolist() == [[20, 80, 60, 160]]
    assert scale_boxes(box, (256, 512), LITE).tolist() == [[5, 10, 15, 20]]
    assert scale_boxes([-0.5, -0.5, 511.5, 255.5], (256, 512), SAM).tolist() == [[0, 0, 1024, 512]]


@pytest.mark.parametrize(("spec", "rows"), [(SAM, 128), (MEDSAM, 256), (LITE, 128)])
def test_masks_come_back_where_they_were(spec: Any, rows: int) -> None:
    logits = torch.full((1, 256, 256), -5.0)
    logits[:, : rows // 2, 128:] = 5.0  # the upper half of the image's part, right side
    found = restore(logits, (64, 128), spec)[0] > 0
    expected = torch.zeros(64, 128, dtype=torch.bool)
    expected[:32, 64:] = True
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("spec", "rows"), [(SAM, 8), (MEDSAM, 16)])
def test_mask_prompts_cover_the_padded_input(spec: object, rows: int) -> None:
    small = replace(spec, input_size=64)  # type: ignore[type-var]
    masks = torch.zeros((2, 16, 32))
    masks[0, :, 16:] = 1  # the right half of a slice twice as wide as high
    masks[1] = torch.nan
    found = scale_masks(masks, small, (16, 16))
    inside = found[0] > 0
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:rows, 8:] = True
    assert torch.equal(inside, expected)
    assert found[1].isnan().all()
    assert 5 < float(found[0].max()) < 20, "as sure as a mask of SAM"


def noise(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "size"),
    [((512, 512), (1024, 1024)), ((40, 64), (20, 32)), ((40, 64), (640, 1024)), ((30, 33), (95, 104))],
)
def test_bilinear_is_pillows(shape: tuple[int, int], size: tuple[int, int]) -> None:
    picture = noise(shape)
    expected = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR), dtype=int)
    difference = np.abs(bilinear(picture, size) - expected)
    # of odd factors the two round the weights apart in few pixels; floats would in a fifth
    assert difference.max() <= 1
    assert (difference > 0).mean() < (0.02 if size == (95, 104) else 1e-9)


def test_area_is_the_mean_of_what_is_covered() -> None:
    picture = np.array([[1, 2, 10, 20], [3, 5, 30, 41]], dtype=np.uint8)
    # (1 + 2 + 3 + 5) / 4 = 2.75; (10 + 20 + 30 + 41) / 4 = 25.25
    assert area(picture, (1, 2)).tolist() == [[3, 25]]
    # three to two: the middle pixel goes half to each side: (2 * 30 + 60) / 3, (60 + 2 * 90) / 3
    assert area(np.array([[30, 60, 90]], dtype=np.uint8), (1, 2)).tolist() == [[40, 80]]
    # two to three, larger: the middle one is half of each
    assert area(np.array([[30, 60]], dtype=np.uint8), (1, 3)).tolist() == [[30, 45, 60]]
    # halves go up, as in OpenCV's path for a factor of two
    assert area(np.array([[2, 3], [2, 3]], dtype=np.uint8), (1, 1)).tolist() == [[3]]
    big = noise((512, 400))
    expected = np.floor(big.reshape(256, 2, 200, 2).sum(axis=(1, 3), dtype=int) / 4 + 0.5)
    np.testing.assert_array_equal(area(big, (256, 200)), expected)


@pytest.mark.parametrize("expected", [LARGER, SMALLER])
def test_spline_is_scikit_images(expected: list[list[float]]) -> None:
    picture = (np.arange(30).reshape(5, 6) ** 2 * 7 % 251).astype(np.uint8)
    size = (len(expected), len(expected[0]))
    np.testing.assert_allclose(spline(picture, size), expected, atol=2e-3)


def test_spline_does_not_overshoot() -> None:
    edge = np.tile(np.array([0, 0, 0, 255, 255, 255], dtype=np.uint8), (6, 1))
    found = spline(edge, (12, 12))
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_allclose(found[3] + found[3, ::-1], 255, atol=1e-3)
