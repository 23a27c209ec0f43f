"""Canonical form: 48 orientations and oblique ones, there and back."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import GeometryError
from medlsam.geometry import Grid, mask_box
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import (
    LabelMap,
    from_canonical,
    lps_grid,
    to_canonical,
)
from tests.support.data.orientations import ORIENTATIONS, direction_of, oblique

KINDS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def blocks(grid):
    """Labels with no symmetry: three blocks of different sizes."""
    z, y, x = grid.shape_zyx
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[: z // 2, : y // 3, : x // 2] = 1
    labels[z // 2 :, y // 2 :, 1 : x // 3] = 2
    labels[z - 2, y - 2, x - 3] = 3
    return labels


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_axis_order_goes_to_canonical_and_back_without_loss(order, signs):
    grid = Grid((6, 7, 8), (0.8, 1.5, 3.0), (-30.0, 12.0, 700.0), direction_of(order, signs))
    labels = blocks(grid)
    canonical = to_canonical(LabelMap(labels, grid))
    assert canonical.grid.direction == Grid((1, 1, 1)).direction
    np.testing.assert_allclose(canonical.grid.box.faces, grid.box.faces, atol=1e-9)
    for value in (1, 2, 3):
        before, after = (mask_box(v.array == value, v.grid) for v in (LabelMap(labels, grid), canonical))
        np.testing.assert_allclose(after.faces, before.faces, atol=1e-9)
    np.testing.assert_array_equal(from_canonical(canonical.array, canonical.grid, grid), labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_files_keep_every_axis_order(tmp_path, kind, order, signs):
    grid = Grid((6, 7, 8), (0.8, 1.5, 3.0), (-30.0, 12.0, 700.0), direction_of(order, signs))
    write_volume(LabelMap(blocks(grid), grid), tmp_path / f"labels{kind}")
    again = read_label_map(tmp_path / f"labels{kind}")
    assert again.grid.matches(grid, tolerance_mm=1e-3)
    np.testing.assert_array_equal(again.array, blocks(grid))
    assert again.array.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degrees", [3, 20, 40])
def test_oblique_scans_survive_files_and_canonical(tmp_path, make_ct, kind, degrees):
    grid = Grid((20, 26, 28), (1.0, 1.4, 2.5), (-30.0, 12.0, 700.0), oblique(degrees))
    scan = make_ct(grid)
    write_volume(scan, tmp_path / f"scan{kind}")
    again = read_image(tmp_path / f"scan{kind}")
    # Physical corners move far less than half a voxel.
    assert np.abs(again.grid.corners() - grid.corners()).max() < 0.01
    np.testing.assert_array_equal(again.array, scan.array)

    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[6:14, 5:20, 8:20] = 1
    canonical = to_canonical(LabelMap(labels, grid))
    assert canonical.array.dtype == np.uint8
    before, after = mask_box(labels == 1, grid), mask_box(canonical.array == 1, canonical.grid)
    for n, (one, other) in enumerate(zip(before.faces, after.faces, strict=True)):
        # A corner voxel of the turned block sticks out; its neighbour is at most a voxel away.
        assert abs(one - other) <= max(grid.spacing_xyz), n
    back = from_canonical(canonical.array, canonical.grid, grid)
    assert back.shape == grid.shape_zyx
    assert back.dtype == np.uint8
    dice = 2 * (back & labels).sum() / (back.sum() + labels.sum())
    assert dice > 0.93
    inner = np.argwhere(back).mean(axis=0) - np.argwhere(labels).mean(axis=0)
    assert np.abs(inner).max() < 0.1


def test_oblique_grid_skips_no_voxel_and_stays_small():
    grid = Grid((40, 100, 100), (0.8, 0.8, 5.0), direction=oblique(5))
    canonical = to_canonical(LabelMap(np.zeros(grid.shape_zyx, np.uint8), grid)).grid
    assert np.prod(canonical.shape_zyx) < 4 * 40 * 100 * 100
    assert max(canonical.spacing_xyz[:2]) <= 0.81
    assert (np.asarray(canonical.box.min) <= np.asarray(grid.box.min) + 0.01).all()
    assert (np.asarray(canonical.box.max) >= np.asarray(grid.box.max) - 0.01).all()


def test_canonical_back_from_another_spacing():
    grid = Grid((12, 20, 24), (1.0, 1.0, 3.0), (5.0, 6.0, 7.0), direction_of((1, 0, 2), (-1, 1, -1)))
    coarse = lps_grid(grid, (2.0, 2.0, 3.0))
    labels = np.zeros(coarse.shape_zyx, np.uint8)
    labels[3:9, 4:8, 2:6] = 4
    back = from_canonical(labels, coarse, grid)
    np.testing.assert_allclose(
        mask_box(back == 4, grid).faces, mask_box(labels == 4, coarse).faces, atol=1.01
    )
    with pytest.raises(GeometryError, match="do not lie on a grid"):
        from_canonical(labels[1:], coarse, grid)


def test_lps_grid_covers_the_box_with_all_centres_inside():
    grid = Grid((10, 20, 30), (1.1, 0.9, 4.0), (3.0, -8.0, 2.0), oblique(15))
    found = lps_grid(grid, (2.0, 3.0, 7.0))
    assert (np.asarray(found.box.min) <= grid.box.min).all()
    assert (np.asarray(found.box.max) >= grid.box.max).all()
    z, y, x = found.shape_zyx
    for centre in (found.ijk_to_lps([0, 0, 0]), found.ijk_to_lps([x - 1, y - 1, z - 1])):
        assert (centre > grid.box.min).all()
        assert (centre < grid.box.max).all()
    straight = Grid((10, 20, 30), (1.1, 0.9, 4.0), (3.0, -8.0, 2.0))
    assert lps_grid(straight, straight.spacing_xyz).matches(straight, 1e-6)
