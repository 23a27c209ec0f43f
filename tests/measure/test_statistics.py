import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.measure.shape import surface_area
from medlsam.measure.statistics import COLUMNS, DESCRIBED, structure_statistics, write_statistics
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap

LPS_TO_COLUMNS = (0, -1, 0, 0, 0, 1, 1, 0, 0)  # i runs along z, j along -x, k along y


def segmentation(array: Any, grid: Grid, hu: Any, names: dict[int, str]) -> Segmentation:
    located = {name: LocatedStructure(name, "found", 0.91234, 3.14159) for name in names.values()}
    return Segmentation(
        "case", LabelMap(array, grid), names, Localization("case", located), image=Image(hu, grid)
    )


def test_a_brick_is_measured_exactly() -> None:
    grid = Grid((10, 20, 30), (1.0, 2.0, 3.0), (100.0, -50.0, 7.0))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[2:5, 4:8, 10:12] = 3
    hu = np.full(grid.shape_zyx, -1000, np.int16)
    hu[2:5, 4:8, 10:12] = 40
    hu[2, 4:8, 10:12] = 70
    (row,) = structure_statistics(segmentation(labels, grid, hu, {3: "liver"}))
    assert row == {
        "case": "case",
        "organ": "liver",
        "label": 3,
        "status": "found",
        "confidence": 0.9123,
        "expected_error_mm": 3.14,
        "volume_ml": 0.144,  # 24 voxels of 6 mm3
        "mean_hu": 50.0,
        "std_hu": pytest.approx(np.sqrt(200), abs=0.01),
        # 8 x 2 mm in plane; the middles of the pixels' edges are (4, +-0.5), (3, +-1) mm and so on
        "long_axial_mm": pytest.approx(np.hypot(8, 1), abs=0.01),
        "short_axial_mm": pytest.approx(2 * (3 * 1 + 1 * 8) / np.hypot(8, 1), abs=0.01),
        "height_mm": 9.0,
        "center_x_mm": 110.5,
        "center_y_mm": -39.0,
        "center_z_mm": 16.0,
        "cut_off": "no",
        "p5_hu": 40.0,
        "median_hu": 40.0,
        "p95_hu": 70.0,
        "surface_mm2": None,  # only two voxels wide
        "sphericity": None,
        "edge_distance_mm": 6.0,  # two slices below it; in front of it four rows, 8 mm
        "edge_face": "z-",
        "first_slice": 3,
        "last_slice": 5,
        "slice_numbers": "index",
    }


def test_the_axis_order_of_the_file_makes_no_difference() -> None:
    grid = Grid((10, 20, 30), (1.0, 2.0, 3.0))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[0:5, 4:8, 10:15] = 1
    labels[3, 2:11, 9] = 1
    straight = structure_statistics(segmentation(labels, grid, labels.astype(np.int16), {1: "a"}))[0]
    # array axes (k, j, i) are now LPS y, -x, z
    turned = labels.transpose(1, 2, 0)[:, ::-1]
    other = Grid(turned.shape, (3.0, 1.0, 2.0), (29.0, 0.0, 0.0), LPS_TO_COLUMNS)  # type: ignore[arg-type]
    assert structure_statistics(segmentation(turned, other, turned.astype(np.int16), {1: "a"}))[0] == straight
    assert straight["cut_off"] == "yes"
    assert straight["height_mm"] == 15.0
    assert (straight["edge_distance_mm"], straight["edge_face"]) == (0.0, "z-")
    assert (straight["first_slice"], straight["last_slice"]) == (1, 5)
    assert straight["surface_mm2"] > 0


ORDERS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def stored(array: Any, grid: Grid, order: tuple[int, ...], flips: tuple[int, ...]) -> tuple[Any, Grid]:
    """The same voxels in another of the 48 axis orders: array axis n is axis ``order[n]`` of before."""
    turned = array.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    corner = [0 if flip > 0 else size - 1 for flip, size in zip(flips, turned.shape, strict=True)]
    first = [corner[order.index(axis)] for axis in range(3)]
    direction = np.reshape(grid.direction, (3, 3))
    # Columns of the direction are i, j, k: the array's axes backwards.
    columns = [direction[:, 2 - order[axis]] * flips[axis] for axis in (2, 1, 0)]
    spacing = tuple(grid.spacing_xyz[2 - order[axis]] for axis in (2, 1, 0))
    origin = tuple(grid.ijk_to_lps(first[::-1]))
    return turned, Grid(turned.shape, spacing, origin, tuple(np.stack(columns, axis=1).ravel()))  # type: ignore[arg-type]


def ellipsoid(grid: Grid, center: tuple[float, ...], semi_axes: tuple[float, ...]) -> Any:
    """(Z, Y, X) mask; centre and semi-axes (x, y, z) in LPS mm."""
    z, y, x = grid.shape_zyx
    kji = np.stack(np.meshgrid(range(z), range(y), range(x), indexing="ij"), axis=-1)
    return (((grid.ijk_to_lps(kji[..., ::-1]) - center) / semi_axes) ** 2).sum(axis=-1) <= 1


@pytest.mark.parametrize(("order", "flips"), ORDERS)
def test_every_way_to_store_a_scan_gives_the_same_figures(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    grid = Grid((14, 30, 34), (0.9, 1.1, 3.0), (10.0, -20.0, 100.0))
    labels = ellipsoid(grid, (24, -6, 118), (8, 11, 12)).astype(np.uint8)
    hu = np.random.default_rng(0).integers(-100, 200, labels.shape).astype(np.int16)
    (straight,) = structure_statistics(segmentation(labels, grid, hu, {1: "a"}))
    turned, other = stored(labels, grid, order, flips)
    (found,) = structure_statistics(segmentation(turned, other, stored(hu, grid, order, flips)[0], {1: "a"}))
    assert found == straight


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (0.8, 0.8, 5.0)])
def test_phantoms_of_known_size(spacing: tuple[float, float, float]) -> None:
    extent = np.array([90.0, 80.0, 100.0])
    x, y, z = (int(n) for n in np.round(extent / spacing))
    grid = Grid((z, y, x), spacing)
    semi_axes = (20.0, 25.0, 30.0)
    labels = ellipsoid(grid, (40, 38, 52), semi_axes).astype(np.uint8)
    (row,) = structure_statistics(segmentation(labels, grid, labels * np.int16(50), {1: "kidney"}))
    assert row["volume_ml"] == pytest.approx(4 / 3 * np.pi * np.prod(semi_axes) / 1000, rel=0.02)
    assert (row["center_x_mm"], row["center_y_mm"], row["center_z_mm"]) == pytest.approx(
        (40, 38, 52), abs=0.4
    )
    # Knud Thomsen's formula, right to 1 %.
    a, b, c = (s**1.6075 for s in semi_axes)
    surface = 4 * np.pi * ((a * b + a * c + b * c) / 3) ** (1 / 1.6075)
    assert row["surface_mm2"] == pytest.approx(surface, rel=0.03)
    assert row["sphericity"] == pytest.approx(4 * np.pi * np.prod(semi_axes) ** (2 / 3) / surface, abs=0.03)
    assert row["long_axial_mm"] == pytest.approx(50, abs=1.5)
    assert row["short_axial_mm"] == pytest.approx(40, abs=1.5)
    assert row["height_mm"] == pytest.approx(60, abs=spacing[2])
    assert row["edge_face"] == "y-"
    assert row["edge_distance_mm"] == pytest.approx(38 - 25 + spacing[1] / 2, abs=spacing[1])
    assert row["slice_numbers"] == "index"
    assert row["first_slice"] == pytest.approx(22 / spacing[2] + 1, abs=1)
    assert row["last_slice"] == pytest.approx(82 / spacing[2] + 1, abs=1)


def test_a_structure_at_the_edge_says_which_edge() -> None:
    grid = Grid((12, 20, 30), (1.0, 2.0, 3.0), direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[4:8, 5:9, 0:4] = 1  # the first columns: i runs from left to right, so they are at the left
    labels[4:8, 16:20, 10:14] = 2
    labels[8:12, 5:9, 10:14] = 3
    rows = structure_statistics(segmentation(labels, grid, labels * np.int16(9), {1: "a", 2: "b", 3: "c"}))
    assert [(row["edge_distance_mm"], row["edge_face"]) for row in rows] == [(0, "x+"), (0, "y-"), (0, "z+")]
    assert [row["cut_off"] for row in rows] == ["no", "no", "yes"]
    # The plane where the scan ends counts as surface.
    assert rows[0]["surface_mm2"] == pytest.approx(
        surface_area(np.ones((4, 4, 4), bool), (3.0, 2.0, 1.0)), abs=0.1
    )


def test_a_structure_without_voxels_keeps_its_row(tmp_path: Path) -> None:
    grid = Grid((4, 4, 4))
    labels = np.zeros(grid.shape_zyx, np.uint16)
    labels[1, 1, 1] = 300
    rows = structure_statistics(
        segmentation(labels, grid, labels.astype(np.int16), {2: "gone", 300: "there"})
    )
    assert [(row["organ"], row["volume_ml"], row["mean_hu"]) for row in rows] == [
        ("gone", 0.0, None),
        ("there", 0.001, 300.0),
    ]
    write_statistics(rows, tmp_path / "statistics.csv")
    with (tmp_path / "statistics.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == COLUMNS
    assert read[0]["mean_hu"] == ""
    assert float(read[1]["mean_hu"]) == 300.0
    told = json.loads((tmp_path / "statistics.json").read_text(encoding="utf-8"))
    assert told["rows"] == rows
    assert list(told["columns"]) == list(COLUMNS)
    assert told["units"].items() >= {"volume_ml": "ml", "surface_mm2": "mm2", "median_hu": "HU"}.items()
    assert set(told["units"]) == {column for column, (unit, _) in DESCRIBED.items() if unit}


def test_rows_of_an_earlier_version_keep_their_places(tmp_path: Path) -> None:
    write_statistics([{"case": "a", "volume_ml": 1.5, "gone": 3}], tmp_path / "statistics.csv")
    (row,) = json.loads((tmp_path / "statistics.json").read_text(encoding="utf-8"))["rows"]
    assert row == dict.fromkeys(COLUMNS) | {"case": "a", "volume_ml": 1.5}
    with (tmp_path / "statistics.csv").open(encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["volume_ml"], line["surface_mm2"]) == ("1.5", "")


def test_what_does_not_fit_is_told() -> None:
    grid = Grid((4, 4, 4))
    found = segmentation(np.zeros((4, 4, 4), np.uint8), grid, np.zeros((4, 4, 4), np.int16), {1: "a"})
    with pytest.raises(GeometryError, match=r"\(4, 4, 5\)"):
        structure_statistics(found, Image(np.zeros((4, 4, 5), np.int16), Grid((4, 4, 5))))
    with pytest.raises(UsageError, match="keeps no scan"):
        structure_statistics(Segmentation("case", found.labels, {1: "a"}, found.localization))
