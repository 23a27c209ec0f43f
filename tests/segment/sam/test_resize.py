"""Resizing as Pillow, OpenCV and scikit-image do it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medlsam.segment.sam.preprocess import area, bilinear, spline


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
