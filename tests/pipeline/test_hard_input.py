"""Scans as they come: any direction, thickness and field of view; padding, couch, arms and metal; larger than memory.

Where no anatomy is needed the encoder hands on HU (``ramp_encoder``), so answers are exact; the rest uses the shipped
encoder on phantoms, and the tolerances are about twice what it was measured at.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import medlsam
from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.localize.network import tiling
from medlsam.localize.network.embedding import Embedding, embed, encoder_grid
from medlsam.volume import Image, resample
from tests.support.fakes.ramp_encoder import (
    RampEncoder,
    hu_of,
    ramp,
    ramp_scan,
)

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]


def turned_by(*degrees: float) -> tuple[float, ...]:
    """Direction of a grid that is turned about x, y and z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return tuple((about_z @ about_y @ about_x).ravel())


def stored_as(volume: Image, order: tuple[int, ...], signs: tuple[int, ...]) -> Image:
    """The same voxels with the array's axes x, y, z taken from other ones, and turned round where a sign is -1."""
    grid = volume.grid
    array = volume.array.transpose([2 - order[2 - axis] for axis in range(3)])
    array = np.flip(array, [2 - n for n in range(3) if signs[n] < 0])
    first = np.zeros(3)
    for n in range(3):
        if signs[n] < 0:
            first[order[n]] = grid.shape_zyx[2 - order[n]] - 1
    direction = np.asarray(grid.direction).reshape(3, 3)[:, list(order)] * signs
    spacing = [grid.spacing_xyz[n] for n in order]
    return Image(
        np.ascontiguousarray(array),
        Grid(array.shape, tuple(spacing), tuple(grid.ijk_to_lps(first)), tuple(direction.ravel())),
    )


def places(grid: Grid, margin_mm: float, count: int = 200) -> np.ndarray:
    """Random LPS places inside a scan that are ``margin_mm`` or more from its faces."""
    extent = np.asarray(grid.shape_zyx[::-1]) * np.asarray(grid.spacing_xyz)
    assert (extent > 2 * margin_mm).all()
    inner = np.random.default_rng(0).uniform(margin_mm, extent - margin_mm, (count, 3))
    return grid.ijk_to_lps(inner / np.asarray(grid.spacing_xyz) - 0.5)


def read_hu(embedding: Embedding, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) and (N, 3) HU that the latent positions and the three scales of features have at places."""
    latents, features = embedding.read(points)
    pairs = features.unflatten(1, (3, 2))
    return hu_of(latents), hu_of(torch.atan2(pairs[..., 1], pairs[..., 0]))


def check_ramp(scan: Image, margin_mm: float = 50.0, tolerance_hu: float = 0.2) -> None:
    """0.2 HU are 0.4 mm or less along each axis, a tenth of an encoder's voxel.

    The margin keeps to places between the centres of cells of 32 mm that all lie in the scan.
    """
    points = places(scan.grid, margin_mm)
    wanted = ramp(points, np.asarray(scan.grid.box.center))[:, None]
    latents, features = read_hu(embed(scan, RampEncoder()), points)
    assert np.abs(latents - wanted).max() < tolerance_hu
    # Half precision of the features is 0.15 HU.
    assert np.abs(features - wanted).max() < tolerance_hu + 0.5


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_axis_order_is_read_off_at_the_same_place(order, signs):
    scan = ramp_scan(Grid((40, 30, 48), (3.5, 5.0, 3.0), (-30.0, 12.0, 700.0)))
    check_ramp(stored_as(scan, order, signs))


@pytest.mark.parametrize("degrees", [(5, 0, 0), (20, 0, 0), (0, 0, 33), (12, -8, 25), (90, 10, 0)])
@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (0.9, 0.9, 5.0)])
def test_oblique_scans_are_read_off_at_the_same_place(degrees, spacing):
    shape = tuple(int(180 / s) for s in spacing[::-1])
    check_ramp(ramp_scan(Grid(shape, spacing, (-30.0, 12.0, 700.0), turned_by(*degrees))), 75.0)


@pytest.mark.parametrize("thickness", [0.5, 0.8, 1.25, 3.0, 5.0, 8.0])
@pytest.mark.parametrize("axis", [0, 2])
def test_thin_and_thick_slices_are_read_off_at_the_same_place(thickness, axis):
    spacing = [2.5, 2.5, 2.5]
    spacing[axis] = thickness
    shape = tuple(int(130 / s) for s in spacing[::-1])
    check_ramp(ramp_scan(Grid(shape, tuple(spacing), (5.0, 6.0, 7.0))))


@pytest.mark.parametrize("size", [(3, 5, 7), (2, 40, 40), (40, 40, 2)])
def test_scans_smaller_than_a_cell_of_the_encoder_are_embedded(size):
    scan = ramp_scan(Grid(size, (2.0, 2.0, 2.0), (5.0, 6.0, 7.0)))
    embedding = embed(scan, RampEncoder())
    np.testing.assert_allclose(embedding.view[0], scan.grid.box.min)
    np.testing.assert_allclose(embedding.view[1], scan.grid.box.max)
    latents, features = embedding.read(np.array([scan.grid.box.center]))
    assert torch.isfinite(latents).all()
    assert torch.isfinite(features).all()


# Padding


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), turned_by(10, 0, 0), turned_by(0, 0, 90)])
def test_padding_is_air(make_ct, padding, direction):
    """Outside the circle that the scanner reconstructs; also where it lies in the way of the blur before shrinking."""
    for spacing in ((1.5, 1.5, 3.0), (4.5, 4.5, 6.0)):
        scan = make_ct(Grid((24, 40, 40), spacing, direction=direction))
        y, x = np.ogrid[-1:1:40j, -1:1:40j]
        outside = np.broadcast_to(x**2 + y**2 > 0.6, scan.array.shape)
        grid = encoder_grid(scan.grid, 4.0)
        air, padded = (
            resample(Image(np.where(outside, value, scan.array).astype(kind), scan.grid), grid).array
            for value, kind in ((-1024, np.int16), (padding, np.int16))
        )
        np.testing.assert_allclose(padded, air, atol=1e-3)


# Larger than memory would like


def tiled(encoder: RampEncoder, budget: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Send the encoder's passes through tiles; the list gets the number of voxels of each part that it sees."""
    seen: list[int] = []
    enter = encoder.enter
    monkeypatch.setattr(tiling, "BUDGET", budget)
    monkeypatch.setattr(encoder, "enter", lambda x: seen.append(x.numel()) or enter(x))
    return seen


def test_a_scan_in_tiles_is_seen_as_the_whole_is(monkeypatch):
    scan = ramp_scan(Grid((50, 30, 36), (4.0, 4.0, 4.0), (-30.0, 12.0, 700.0), turned_by(10, 0, 0)))
    encoder = RampEncoder()
    whole = embed(scan, encoder)
    seen = tiled(encoder, 40_000, monkeypatch)
    parts = embed(scan, encoder)
    assert max(seen) <= 40_000
    for one, other in zip(
        (whole.positions, *whole.features), (parts.positions, *parts.features), strict=True
    ):
        assert torch.equal(one, other)


def test_a_scan_of_2000_slices(monkeypatch):
    """1.6 m: a tenth of a voxel is 0.06 HU along z here."""
    slope = np.array([0.6, -0.4, 0.15])
    scan = ramp_scan(Grid((2000, 26, 24), (6.0, 6.0, 0.8), (-30.0, 12.0, -900.0)), slope)
    encoder = RampEncoder()
    seen = tiled(encoder, 200_000, monkeypatch)
    points = places(scan.grid, 50.0)
    latents, features = read_hu(embed(scan, encoder), points)
    wanted = ramp(points, np.asarray(scan.grid.box.center), slope)[:, None]
    assert max(seen) <= 200_000 < sum(seen)
    assert np.abs(latents - wanted).max() < 0.06
    assert np.abs(features - wanted).max() < 0.5


def test_a_volume_from_elsewhere_with_values_that_are_no_numbers_is_refused() -> None:
    """Files with such values are refused where they are read; this one was made by a caller."""
    array = np.zeros((16, 24, 28), np.float32)
    array[3, 4, 5:7] = np.nan
    with pytest.raises(VolumeError, match="volume: 2 values are NaN or infinite; replace them"):
        medlsam.load(device="cpu").embed(Image(array, Grid(array.shape, (4.0, 4.0, 4.0))))
