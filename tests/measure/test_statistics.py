import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.measure.statistics import COLUMNS, axial_diameters, structure_statistics, write_statistics
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


def test_a_disc_has_its_diameter() -> None:
    y, x = np.mgrid[-40:41, -40:41]
    mask = np.zeros((3, 81, 81), bool)
    mask[1] = (y * 0.5) ** 2 + (x * 1.0) ** 2 <= 15**2  # pixels of 0.5 x 1 mm, radius 15 mm
    mask[0, 40, 40] = True
    long, short = axial_diameters(mask, (5.0, 0.5, 1.0))
    assert long == pytest.approx(30, abs=1.0)
    assert short == pytest.approx(30, abs=1.0)


def test_a_single_voxel_is_as_wide_as_it_is() -> None:
    assert axial_diameters(np.ones((1, 1, 1), bool), (3.0, 2.0, 2.0)) == pytest.approx((2.0, 2.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_diameters_agree_with_the_plain_search(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((3, 6, 7)) < 0.2
    mask[1, 2, 3] = True
    best = 0.0
    for layer in mask:
        pixels = np.argwhere(layer).astype(float)
        edges = np.concatenate([pixels + d for d in ([0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5])])
        edges = edges * [0.7, 1.3]
        if len(edges):
            best = max(best, float(np.linalg.norm(edges[:, None] - edges[None], axis=-1).max()))
    long, short = axial_diameters(mask, (1.0, 0.7, 1.3))
    assert long == pytest.approx(best)
    assert short <= long + 1e-9


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


def test_what_does_not_fit_is_told() -> None:
    grid = Grid((4, 4, 4))
    found = segmentation(np.zeros((4, 4, 4), np.uint8), grid, np.zeros((4, 4, 4), np.int16), {1: "a"})
    with pytest.raises(GeometryError, match=r"\(4, 4, 5\)"):
        structure_statistics(found, Image(np.zeros((4, 4, 5), np.int16), Grid((4, 4, 5))))
    with pytest.raises(UsageError, match="keeps no scan"):
        structure_statistics(Segmentation("case", found.labels, {1: "a"}, found.localization))
