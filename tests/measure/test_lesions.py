"""Which voxels are one lesion, and that its figures do not depend on how the mask is stored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.measure.lesions import lesion_instances, measure_lesions
from medlsam.volume import Image, LabelMap, Source, to_canonical

GRID = Grid((12, 40, 50), (0.8, 1.0, 3.0), (10.0, -20.0, 100.0))


def labels(*cubes: tuple[int, tuple[int, int, int], tuple[int, int, int]]) -> LabelMap:
    """Blocks of a value, from a corner (z, y, x) on, of a size."""
    array = np.zeros(GRID.shape_zyx, np.uint8)
    for value, corner, size in cubes:
        array[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = value
    return LabelMap(array, GRID, Source(Path("lesions.nii.gz")))


def test_connected_parts_of_enough_voxels_are_lesions() -> None:
    mask = labels((1, (1, 2, 2), (3, 6, 6)), (1, (6, 20, 20), (3, 5, 5)), (1, (9, 2, 40), (2, 2, 3)))
    found, small = lesion_instances(mask.array)
    assert [(own.id, own.value, own.voxels) for own in found] == [(1, 1, 108), (2, 1, 75)]
    assert small == 1
    assert len(lesion_instances(mask.array, least_voxels=12)[0]) == 3
    assert len(lesion_instances(mask.array, least_voxels=13)[0]) == 2
    # A lesion's number does not depend on what is too small: by it targets are named.
    first = labels((1, (0, 2, 40), (2, 2, 3)), (1, (6, 20, 20), (3, 5, 5)))
    assert [own.id for own in lesion_instances(first.array)[0]] == [2]
    assert [own.id for own in lesion_instances(first.array, least_voxels=1)[0]] == [1, 2]


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = labels((1, (1, 2, 2), (3, 5, 5)), (1, (4, 7, 7), (3, 5, 5)))
    found, _ = lesion_instances(mask.array)
    assert [own.voxels for own in found] == [150]


def test_given_instances_are_kept() -> None:
    """Two values touch, one of them is in two parts."""
    mask = labels((4, (1, 2, 2), (3, 6, 6)), (7, (1, 2, 8), (3, 6, 6)), (7, (8, 20, 30), (2, 6, 6)))
    found, _ = lesion_instances(mask.array)
    assert [(own.id, own.voxels) for own in found] == [(4, 108), (7, 180)]
    # Two parts of one lesion, or two lesions of one kind: the user is told.
    assert [own.parts for own in measure_lesions(mask)] == [1, 2]
    apart, _ = lesion_instances(mask.array, instances="connected")
    assert [(own.id, own.value, own.voxels) for own in apart] == [(1, 4, 108), (2, 7, 108), (3, 7, 72)]


def test_figures_of_a_block() -> None:
    mask = labels((1, (2, 10, 20), (4, 12, 5)))
    scan = Image(np.where(mask.array > 0, 60, -50).astype(np.int16), GRID)
    (found,) = measure_lesions(mask, scan)
    assert found.volume_ml == pytest.approx(240 * 0.8 * 1.0 * 3.0 / 1000)
    # Through the middles of the edges: the ends lie half a pixel beyond the outer centres, in rows or in columns.
    assert found.longest_mm == pytest.approx(math.hypot(12.0, 4 * 0.8), abs=0.5)
    assert found.mean_hu == 60
    assert found.center == pytest.approx((10 + 22 * 0.8, -20 + 15.5, 100 + 3.5 * 3))
    assert found.box.size == pytest.approx((4.0, 12.0, 12.0))
    assert (found.first_slice, found.last_slice, found.slice_numbers) == (3, 6, "index")
    assert found.first_slice <= found.slice <= found.last_slice
    assert not found.cut_off
    line = np.array(found.longest_line)
    assert np.linalg.norm(line[1] - line[0]) == pytest.approx(found.longest_mm)
    assert line[0][2] == pytest.approx(100 + 3 * (found.slice - 1))


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_every_way_of_storing_it_gives_the_same(axes: tuple[int, int, int]) -> None:
    mask = labels((1, (2, 10, 20), (4, 12, 5)), (1, (3, 14, 25), (1, 3, 9)))
    stored = mask.array.transpose(axes)[::-1]
    # Row a of the array's axes (z, y, x) runs along what was axis axes[a].
    direction = np.zeros((3, 3))
    spacing, origin = [0.0] * 3, np.asarray(GRID.origin_xyz)
    for new, old in enumerate(axes):
        sign = -1 if new == 0 else 1
        direction[2 - old, 2 - new] = sign
        spacing[2 - new] = GRID.spacing_xyz[2 - old]
        if sign < 0:
            origin = origin + np.eye(3)[2 - old] * (GRID.shape_zyx[old] - 1) * GRID.spacing_xyz[2 - old]
    grid = Grid(stored.shape, tuple(spacing), tuple(origin), tuple(direction.ravel()))  # type: ignore[arg-type]
    other = LabelMap(np.ascontiguousarray(stored), grid)
    assert (to_canonical(other).array == mask.array).all()
    (a,), (b,) = measure_lesions(mask), measure_lesions(other)
    assert (b.longest_mm, b.perpendicular_mm, b.volume_ml) == pytest.approx(
        (a.longest_mm, a.perpendicular_mm, a.volume_ml)
    )
    assert b.center == pytest.approx(a.center)
    assert b.slice == a.slice
    assert sorted(b.longest_line)[0] == pytest.approx(sorted(a.longest_line)[0])


def test_a_lesion_at_the_scans_end_is_cut_off() -> None:
    first, last = measure_lesions(labels((1, (0, 2, 2), (3, 6, 6)), (2, (9, 20, 20), (3, 6, 6))))
    assert (first.cut_off, last.cut_off) == (True, True)


def test_wrong_calls_are_named() -> None:
    mask = labels((1, (2, 10, 20), (4, 12, 5)))
    with pytest.raises(GeometryError, match=r"lesions\.nii\.gz.*do not"):
        measure_lesions(mask, Image(np.zeros((3, 4, 5), np.int16), Grid((3, 4, 5))))
    with pytest.raises(UsageError, match="instances"):
        lesion_instances(mask.array, instances="each")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="1 or more"):
        lesion_instances(mask.array, least_voxels=0)
