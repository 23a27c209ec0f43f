"""Shards: crops equal the scan within the step of the table, air takes no bytes, damage is told."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from medlsam.errors import VolumeError
from medlsam.geometry import Grid
from medlsam.pool.packed_scan import BRICK, LEVELS_HU, PackedScan, to_codes, write_packed_scan
from medlsam.pool.reader import OpenScans
from medlsam.volume import Image

GRID = Grid((37, 50, 41), (4.0, 4.0, 4.0), (-30.0, 12.5, 700.0))


@pytest.fixture
def scan():
    """Every HU from air to metal, and a corner of nothing."""
    array = np.random.default_rng(0).uniform(-1024, 3071, GRID.shape_zyx).astype(np.float32)
    array[:20, :20, :20] = -1024
    return Image(array, GRID)


@pytest.fixture
def shard(scan, tmp_path):
    write_packed_scan(tmp_path / "a.ctshard", scan)
    return PackedScan(tmp_path / "a.ctshard")


def largest_error(hu):
    """As the table in ``medlsam/pool/packed_scan.py`` promises, and half a HU of rounding."""
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


def test_what_is_stored_stands_for_the_crop(shard):
    for start, size in (((0, 0, 0), shard.shape_zyx), ((3, 9, 1), (20, 7, 30))):
        codes, levels_hu = shard.stored(start, size)
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(levels_hu[codes], shard.crop(start, size))


def test_single_voxels_are_those_of_the_scan(shard):
    """In bricks of one value and others, in the cut bricks at the far border, and in the last corner."""
    array = shard.read().array
    inside = np.random.default_rng(1).integers(0, GRID.shape_zyx, (3000, 3))
    corners = np.array([(0, 0, 0), np.array(GRID.shape_zyx) - 1, (36, 0, 40), (7, 8, 15), (19, 19, 19)])
    voxels = np.concatenate([inside, corners])
    found = shard.values_at(voxels)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, array[tuple(voxels.T)])
    assert {-1024.0} < set(found.tolist())  # of both kinds of bricks
    assert shard.values_at(np.zeros((0, 3), int)).shape == (0,)


def test_single_voxels_outside_the_scan_are_air(shard):
    z, y, x = GRID.shape_zyx
    outside = np.array([(-1, 30, 30), (z, 30, 30), (30, -9, 30), (30, y, 30), (30, 30, -1), (30, 30, x)])
    assert (shard.values_at(outside) == -1024).all()
    assert shard.values_at(np.array([(30, 30, 30)])) != -1024


def test_a_process_keeps_the_last_shards_open(scan, tmp_path):
    paths = [tmp_path / f"{i}.ctshard" for i in range(5)]
    for path in paths:
        write_packed_scan(path, scan)
    opened = OpenScans(most=3)
    first = opened[paths[0]]
    assert opened[paths[0]] is first
    for path in paths[1:3]:
        opened[path].crop((0, 0, 0), (9, 9, 9))
    assert opened[paths[0]] is first  # and is now the one that was used last
    opened[paths[3]]
    kept = opened[paths[0]]
    assert len(opened) == 3
    assert kept is first
    sent = pickle.loads(pickle.dumps(opened))
    assert len(sent) == 0
    assert sent[paths[0]].grid == GRID
    with pytest.raises(VolumeError, match="none: the shard cannot be opened"):
        opened[tmp_path / "none"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are counted in /proc")
def test_descriptors_of_shards_that_are_let_go_are_closed(scan, tmp_path):
    def held() -> int:
        links = [os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()]
        return sum(link.startswith(str(tmp_path)) for link in links)

    opened = OpenScans(most=4)
    for i in range(20):
        path = tmp_path / f"{i}.ctshard"
        write_packed_scan(path, scan)
        opened[path].values_at(np.zeros((1, 3), int))
    assert held() == 4


def test_air_takes_no_bytes(tmp_path):
    array = np.full((4 * BRICK, 4 * BRICK, 4 * BRICK), -1000, np.float32)
    array[BRICK : 2 * BRICK, :BRICK, :BRICK] = np.random.default_rng(0).normal(0, 50, (BRICK,) * 3)
    write_packed_scan(tmp_path / "a", Image(array, Grid(array.shape, (2.0, 2.0, 2.0))))
    assert (tmp_path / "a").stat().st_size == 4096 + 4096 + BRICK**3
    assert np.abs(PackedScan(tmp_path / "a").read().array - array).max() <= 8


def test_the_same_scan_gives_the_same_bytes(scan, tmp_path):
    for name in ("a", "b"):
        write_packed_scan(tmp_path / name, scan)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("part", [0, 100, 5000, -1])
def test_a_shard_that_is_cut_off_is_told(shard, tmp_path, part):
    (tmp_path / "cut").write_bytes(shard.path.read_bytes()[:part])
    with pytest.raises(VolumeError, match="cut: not a whole shard"):
        PackedScan(tmp_path / "cut")
    with pytest.raises(VolumeError, match="none: the shard cannot be opened"):
        PackedScan(tmp_path / "none")
