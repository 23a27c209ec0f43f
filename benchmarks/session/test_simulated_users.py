"""Simulated users: where they click, which face they drag, which scans they see, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.session import simulated_users
from medlsam.geometry import Box, Grid

GRID = Grid((20, 30, 30), (2.0, 2.0, 3.0), (-10.0, 5.0, 100.0))


@pytest.mark.parametrize("inside", [True, False])
def test_the_click_is_the_deepest_voxel_of_the_largest_wrong_region(inside: bool) -> None:
    right, wrong = np.zeros(GRID.shape_zyx, bool), np.zeros(GRID.shape_zyx, bool)
    right[4:16, 10:20, 5:25] = True
    wrong[4:16, 10:20, 5:16] = True
    wrong[4:7, 10:12, 5:7] = False  # a smaller fault
    mask, truth = (wrong, right) if inside else (right, wrong)
    point, belongs = simulated_users.next_click(mask, truth, GRID)
    x, y, z = np.rint(GRID.lps_to_ijk(point)).astype(int)
    assert belongs is inside
    assert 16 + 3 <= x < 25 - 3  # the fault is 9 voxels wide
    assert 10 + 3 <= y < 20 - 3
    assert 4 + 3 <= z < 16 - 3


def test_the_face_that_is_farthest_off_goes_to_its_true_place() -> None:
    box, truth = Box((0, 0, 0), (30, 30, 30)), Box((1, -2, 0), (30, 37, 28))
    moved = simulated_users.next_box(box, truth)
    assert moved == Box((0, 0, 0), (30, 37, 30))
    assert simulated_users.next_box(moved, truth) in {
        Box((0, -2, 0), (30, 37, 30)),
        Box((0, 0, 0), (30, 37, 28)),
    }


def test_a_table_says_the_share_that_lost_and_the_largest_loss() -> None:
    found = [
        {"start": 0.5, "1 clicks": 0.6},
        {"start": 0.7, "1 clicks": 0.6},
        {"start": 0.7, "1 clicks": 0.69},
        {"start": 0.9, "1 clicks": 0.95},
    ]
    assert simulated_users.worse(found) == ["0%, 0.00", "25%, -0.10"]
    assert simulated_users.row("liver", found)[:2] == ["liver", "4"]
    assert simulated_users.row("liver", found)[3].startswith("0.710 ")


def test_scans_choose_or_report_never_both(tmp_path: Path) -> None:
    heads = {"pretrain": ["head_1", "head_2"], "val": ["head_3"]}
    for folder, names in (
        ("openkbp", ["head_1", "head_2", "head_3"]),
        ("bodyval", ["belly"]),
        ("bodyval/templates", list(simulated_users.TRAINING)),
    ):
        (tmp_path / folder).mkdir(parents=True)
        cases = {name: {"complete": ["liver"]} for name in names}
        (tmp_path / folder / "cases.json").write_text(json.dumps({"cases": cases}))
    (tmp_path / "openkbp/splits.json").write_text(json.dumps(heads))
    chosen, reported = (list(simulated_users.scans(tmp_path, choose, 0)) for choose in (True, False))
    assert [own.name for own in chosen] == ["head_1", "head_2", *simulated_users.TRAINING]
    assert [own.name for own in reported] == ["head_3", "belly"]
    # A template is located with the others only.
    assert [own.is_template for own in chosen] == [False] * 2 + [True] * 4
    assert not any(own.is_template for own in reported)
