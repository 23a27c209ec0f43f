"""Shards: crops equal the scan within the step of the table, air takes no bytes, damage is told."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.pool.shard import BRICK, Shard, write_shard
from medlsam.pool.table import LEVELS_HU, to_codes
from medlsam.volume import Volume

GRID = Grid((37, 50, 41), (4.0, 4.0, 4.0), (-30.0, 12.5, 700.0))


@pytest.fixture
def scan():
    """Every HU from air to metal, and a corner of nothing."""
    array = np.random.default_rng(0).uniform(-1024, 3071, GRID.shape_zyx).astype(np.float32)
    array[:20, :20, :20] = -1024
    return Volume(array, GRID)


@pytest.fixture
def shard(scan, tmp_path):
    write_shard(tmp_path / "a.ctshard", scan)
    return Shard(tmp_path / "a.ctshard")


def largest_error(hu):
    """As the table in ``medlsam/pool/table.py`` promises, and half a HU of rounding."""
    return 0.5 + np.select([hu < -1000, hu < -224, hu < 226, hu < 1186], [12, 8, 1.5, 12], 63)


def test_the_table_has_the_steps_that_it_promises():
    hu = np.arange(-1024, 3072)
    error = np.abs(LEVELS_HU[to_codes(hu)] - hu)
    assert (error <= largest_error(hu) - 0.5).all()
    assert (np.diff(LEVELS_HU) > 0).all()
    assert len(LEVELS_HU) == 256
    outside = to_codes(np.array([-5000, -1024, 3071, 30000]))
    np.testing.assert_array_equal(LEVELS_HU[outside], [-1024, -1024, 3071, 3071])
    np.testing.assert_array_equal(LEVELS_HU[to_codes(LEVELS_HU)], LEVELS_HU)


def test_the_whole_scan_comes_back(scan, shard):
    read = shard.read()
    assert read.grid == GRID
    assert read.array.dtype == np.float32
    assert (np.abs(read.array - scan.array) <= largest_error(scan.array)).all()


@pytest.mark.parametrize("seed", range(20))
def test_crops_are_parts_of_the_scan_wherever_they_lie(shard, seed):
    """Also over the border of the scan, and beyond it."""
    rng = np.random.default_rng(seed)
    start, size = rng.integers(-40, 60, 3), rng.integers(1, 65, 3)
    padded = np.pad(shard.read().array, 128, constant_values=-1024)
    wanted = padded[tuple(slice(128 + a, 128 + a + n) for a, n in zip(start, size, strict=True))]
    crop = shard.crop(start.tolist(), size.tolist())
    assert crop.dtype == np.float32
    np.testing.assert_array_equal(crop, wanted)


def test_air_takes_no_bytes(tmp_path):
    array = np.full((4 * BRICK, 4 * BRICK, 4 * BRICK), -1000, np.float32)
    array[BRICK : 2 * BRICK, :BRICK, :BRICK] = np.random.default_rng(0).normal(0, 50, (BRICK,) * 3)
    write_shard(tmp_path / "a", Volume(array, Grid(array.shape, (2.0, 2.0, 2.0))))
    assert (tmp_path / "a").stat().st_size == 4096 + 4096 + BRICK**3
    assert np.abs(Shard(tmp_path / "a").read().array - array).max() <= 8


def test_the_same_scan_gives_the_same_bytes(scan, tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, scan)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("part", [0, 100, 5000, -1])
def test_a_shard_that_is_cut_off_is_told(shard, tmp_path, part):
    (tmp_path / "cut").write_bytes(shard.path.read_bytes()[:part])
    with pytest.raises(VolumeError, match="cut: not a whole shard"):
        Shard(tmp_path / "cut")
    with pytest.raises(VolumeError, match="none: the shard cannot be opened"):
        Shard(tmp_path / "none")
