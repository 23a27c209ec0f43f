"""Resampling: images linearly and without aliasing, label maps by nearest neighbour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.geometry import Grid
from medlsam.volume import (
    Image,
    LabelMap,
    lps_grid,
    resample,
    to_canonical,
)
from tests.support.data.orientations import ORIENTATIONS, direction_of, oblique


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("direction", [direction_of((0, 1, 2), (1, 1, 1)), oblique(10)])
def test_a_fine_checkerboard_shrinks_to_its_mean(factor, direction):
    grid = Grid((24, 24, 24), (1.0, 1.0, 1.0), direction=direction)
    board = (np.indices(grid.shape_zyx).sum(axis=0) % 2 * 1000).astype(np.int16)
    coarse = Grid((24 // factor,) * 3, (float(factor),) * 3, tuple(grid.ijk_to_lps([0, 0, 0])), direction)
    shrunk = resample(Image(board, grid), coarse).array[1:-1, 1:-1, 1:-1]
    assert np.abs(shrunk - 500).max() < 15
    # Without the blur every sample is a voxel of one colour or of the other.
    picked = resample(LabelMap(board, grid), coarse).array
    assert set(np.unique(picked)) <= {0, 1000}


def test_stripes_along_one_axis_lose_their_contrast_only_along_that_axis():
    grid = Grid((8, 8, 40))
    stripes = np.broadcast_to((np.arange(40) % 2 * 1000).astype(np.int16), grid.shape_zyx)
    along = resample(Image(stripes, grid), Grid((8, 8, 10), (4.0, 1.0, 1.0), (1.5, 0.0, 0.0)))
    assert np.abs(along.array[..., 1:-1] - 500).max() < 1
    across = resample(Image(stripes, grid), Grid((2, 8, 40), (1.0, 1.0, 4.0), (0.0, 0.0, 1.5)))
    np.testing.assert_allclose(across.array, np.broadcast_to(stripes[:2], across.array.shape), atol=1e-3)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_linear_sampling_keeps_a_ramp_in_millimetres(order, signs):
    source = Grid((9, 10, 11), (1.0, 1.5, 2.0), (3.0, 4.0, 5.0), direction_of(order, signs))
    kji = np.indices(source.shape_zyx).reshape(3, -1).T
    ramp = source.ijk_to_lps(kji[:, ::-1]) @ [2.0, -3.0, 5.0]
    volume = Image(ramp.reshape(source.shape_zyx).astype(np.float32), source)
    for target in (
        lps_grid(source, (0.7, 0.9, 1.1)),
        Grid((4, 4, 4), (0.5,) * 3, source.box.center, oblique(25)),
    ):
        sampled = resample(volume, target, fill=np.nan).array
        places = target.ijk_to_lps(np.indices(target.shape_zyx).reshape(3, -1).T[:, ::-1])
        ijk = source.lps_to_ijk(places)
        inside = ((ijk >= 0) & (ijk <= np.asarray(source.shape_zyx[::-1]) - 1)).all(axis=1)
        assert inside.sum() > 20
        np.testing.assert_allclose(sampled.ravel()[inside], (places @ [2.0, -3.0, 5.0])[inside], atol=1e-3)


def test_parallel_and_general_resampling_agree(make_ct):
    scan = make_ct(Grid((24, 28, 32), (1.5, 2.0, 2.5), (-20.0, 10.0, 300.0)))
    coarse = lps_grid(scan.grid, (4.0, 4.0, 4.0))
    # A turn too small to move anything sends it the other way.
    turned = Grid(scan.grid.shape_zyx, scan.grid.spacing_xyz, scan.grid.origin_xyz, oblique(0.003))
    one, other = resample(scan, coarse).array, resample(Image(scan.array, turned), coarse).array
    assert one.std() > 200
    assert np.abs(one - other)[1:-1, 1:-1, 1:-1].max() < 15


def test_outside_is_air_for_scans_and_background_for_labels(small_ct):
    far = Grid((3, 3, 3), origin_xyz=(900.0, 900.0, 900.0))
    assert (resample(small_ct, far).array == -1024).all()
    assert (resample(small_ct, far, fill=7).array == 7).all()
    labels = LabelMap(np.ones(small_ct.grid.shape_zyx, np.uint8), small_ct.grid)
    assert (resample(labels, far).array == 0).all()
    # Half outside: the first sample lies 1 mm before the first voxel's outer face.
    x0, y0, z0 = small_ct.grid.origin_xyz
    across = resample(small_ct, Grid((2, 2, 2), (1.75, 1.0, 1.0), (x0 - 1.75, y0, z0))).array
    assert (across[..., 0] == -1024).all()
    assert (across[..., 1] > -1024).all()


OBLIQUE_GRID = Grid((20, 22, 24), (1.0, 1.4, 2.5), (-30.0, 12.0, 700.0), oblique(20))


@pytest.mark.parametrize("kind", "?bBhHiIqQefd")
def test_a_label_map_of_any_type_keeps_its_values(kind):
    values = [0, 1] if kind == "?" else [0, 3, 7, 100]
    labels = np.random.default_rng(0).choice(values, OBLIQUE_GRID.shape_zyx).astype(kind)
    volume = LabelMap(labels, OBLIQUE_GRID)
    coarse = lps_grid(OBLIQUE_GRID, (3.0, 3.0, 3.0))
    for found in (to_canonical(volume), resample(volume, coarse)):
        assert found.array.dtype == labels.dtype
        assert np.unique(found.array).tolist() == values
        assert found.array[0, 0, 0] == 0, "outside is background"
    # The same voxels are picked whatever holds them.
    np.testing.assert_array_equal(
        resample(volume, coarse).array,
        resample(LabelMap(labels.astype(np.uint8), OBLIQUE_GRID), coarse).array,
    )


@pytest.mark.parametrize("kind", "bBhHiIqQefd")
@pytest.mark.parametrize(
    "target", [lps_grid(OBLIQUE_GRID, (1.0, 1.0, 1.0)), replace(OBLIQUE_GRID, spacing_xyz=(0.7,) * 3)]
)
def test_an_image_of_any_type_is_interpolated(kind, target):
    values = np.random.default_rng(0).choice([0, 10, 20, 100], OBLIQUE_GRID.shape_zyx)
    found = resample(Image(values.astype(kind), OBLIQUE_GRID), target).array
    assert found.dtype == np.float32
    assert len(np.unique(found)) > 1000, "values between those of the voxels"
    np.testing.assert_array_equal(found, resample(Image(values.astype(np.int16), OBLIQUE_GRID), target).array)
    far = Grid((3, 3, 3), origin_xyz=(900.0, 900.0, 900.0))
    assert (resample(Image(values.astype(kind), OBLIQUE_GRID), far).array == -1024).all()


def test_an_unsigned_scan_is_turned_as_an_image():
    scan = np.random.default_rng(0).choice([0, 1000], OBLIQUE_GRID.shape_zyx).astype(np.uint16)
    canonical = to_canonical(Image(scan, OBLIQUE_GRID)).array
    assert canonical.min() == -1024, "air around it"
    assert ((canonical > 100) & (canonical < 900)).any()


def test_big_endian_voxels_are_read_as_such():
    labels = np.arange(8, dtype=">i2").reshape(2, 2, 2)
    found = resample(LabelMap(labels, Grid((2, 2, 2))), Grid((2, 2, 2)))
    np.testing.assert_array_equal(found.array, labels)
