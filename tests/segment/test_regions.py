"""Regions without a name: of a fitting size, inside the body, around something, and never noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

import medlsam
from medlsam.segment.regions import KINDS, air, body_mask, bone, draw_region, noise_hu

SPACING = (1.0, 1.0)


def tissue(noise: float, seed: int, blur: float = 0.0) -> NDArray[np.int16]:
    """A square of 216 mm of soft tissue in air, with noise (white, or as a smooth reconstruction has it)."""
    rng = np.random.default_rng(seed)
    grain = rng.standard_normal((256, 256))
    if blur:
        grain = ndimage.gaussian_filter(grain, blur)
    plane = np.full((256, 256), -1000.0)
    plane[20:-20, 20:-20] = 40 + noise * (grain / grain.std())[20:-20, 20:-20]
    return plane.astype(np.int16)


def disc(center: tuple[float, float], radius: float) -> NDArray[np.bool_]:
    y, x = np.mgrid[:256, :256]
    return (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2


@pytest.mark.parametrize(("noise", "blur"), [(10, 0), (20, 0), (40, 0), (60, 0), (20, 1.0)])
def test_noise_has_no_regions(noise: float, blur: float) -> None:
    plane, rng = tissue(noise, 1, blur), np.random.default_rng(2)
    found = sum(draw_region(plane, SPACING, rng) is not None for _ in range(30))
    assert found <= 1, found


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0), (0.6, 0.6)])
def test_an_organ_in_noise_is_found(spacing: tuple[float, float]) -> None:
    """Most regions of a body with one organ are that organ, or all of the body, whatever the pixels' size."""
    organ = disc((110, 130), 35)
    plane = tissue(15, 3) + np.where(organ, 90, 0).astype(np.int16)
    rng = np.random.default_rng(4)
    found = [mask for _ in range(25) if (mask := draw_region(plane, spacing, rng)) is not None]
    assert len(found) >= 10
    whole = body_mask(plane, spacing)
    overlap = [
        max(2 * (mask & own).sum() / (mask.sum() + own.sum()) for own in (organ, whole)) for mask in found
    ]
    assert np.median(overlap) > 0.85
    assert max(2 * (mask & organ).sum() / (mask.sum() + organ.sum()) for mask in found) > 0.9


@pytest.mark.parametrize("z", [6, 12, 18])
def test_regions_of_a_body_keep_the_rules(z: int) -> None:
    made = medlsam.phantom(1, (2, 2, 5), (340, 460))
    plane, spacing = made.image.array[z], (2.0, 2.0)
    body, rng = body_mask(plane, spacing), np.random.default_rng(z)
    found = [mask for _ in range(25) if (mask := draw_region(plane, spacing, rng)) is not None]
    assert len(found) > 20
    for mask in found:
        (where,) = ndimage.find_objects(mask.astype(np.uint8))
        edges = [(own.stop - own.start) * 2.0 for own in where]
        assert 6 <= max(edges) <= 200
        assert body[mask].mean() >= 0.9
        assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
    assert len({mask.tobytes() for mask in found}) > 10


def test_the_same_seed_draws_the_same() -> None:
    plane = medlsam.phantom(1, (2, 2, 5), (340, 460)).image.array[10]
    first, again = (
        [draw_region(plane, (2.0, 2.0), rng) for _ in range(8)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_something_in_a_chest(kind: str) -> None:
    plane, rng = medlsam.phantom(1, (2, 2, 5), (340, 460)).image.array[18], np.random.default_rng(0)
    found = [mask for _ in range(40) if (mask := KINDS[kind](plane, (2.0, 2.0), rng)) is not None]
    assert found
    assert all(mask.any() and mask.shape == plane.shape for mask in found)


def test_bands_are_what_they_say() -> None:
    plane = tissue(5, 0)
    plane[disc((80, 80), 20)] = 700
    plane[disc((170, 170), 25)] = -850
    rng = np.random.default_rng(0)
    dense = [mask for _ in range(10) if (mask := bone(plane, SPACING, rng)) is not None]
    dark = [mask for _ in range(10) if (mask := air(plane, SPACING, rng)) is not None]
    assert dense
    assert dark
    assert all((mask & disc((80, 80), 22)).sum() == mask.sum() for mask in dense)
    # the air around the body is no region
    assert all((mask & disc((170, 170), 27)).sum() == mask.sum() for mask in dark)


def test_air_alone_has_no_body() -> None:
    plane = np.full((40, 50), -1000, np.int16)
    assert not body_mask(plane, SPACING).any()
    assert draw_region(plane, SPACING, np.random.default_rng(0)) is None


def test_noise_is_measured_where_it_is_quiet() -> None:
    plane = tissue(20, 0)
    plane[disc((128, 128), 40)] += 300
    assert noise_hu(plane, SPACING, body_mask(plane, SPACING)) == pytest.approx(20, rel=0.15)
