"""What is ours in the registration: its starts, its measure, and what it says without elastix."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers.elastix import grey_levels, heights, load_itk, mutual_information
from medlsam.errors import UsageError
from medlsam.geometry import Grid


def test_starts_reach_from_lower_ends_to_upper_ends() -> None:
    short, long = Grid((50, 9, 9), (4.0, 4.0, 3.0)), Grid((120, 9, 9), (4.0, 4.0, 3.0), (0.0, 0.0, -80.0))
    assert heights(long, long, 60.0) == [-60.0, 0.0, 60.0]
    # The middles lie 105 mm apart where the ends meet: two steps.
    assert (
        heights(short, long, 60.0)
        == heights(long, short, 60.0)
        == [-180.0, -120.0, -60.0, 0.0, 60.0, 120.0, 180.0]
    )


def test_mutual_information_is_most_of_a_scan_with_itself() -> None:
    rng = np.random.default_rng(0)
    scan = rng.choice([0.0, 50.0, 90.0], (20, 20, 20))
    inverted = 100 - scan
    assert mutual_information(scan, scan) == pytest.approx(np.log(3), abs=0.01)
    assert mutual_information(scan, inverted) == pytest.approx(mutual_information(scan, scan))
    assert mutual_information(scan, rng.permuted(scan)) < 0.01


def test_grey_levels_give_soft_tissue_most_of_the_range() -> None:
    assert grey_levels(np.array([-3000, -1000, -200, 0, 200, 1500, 4000])).tolist() == [
        0,
        0,
        20,
        50,
        80,
        100,
        100,
    ]


def test_without_elastix_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "itk", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UsageError, match="pip install itk-elastix"):
        load_itk()
    (tmp_path / "itk.py").write_text("")  # itk without elastix
    with pytest.raises(UsageError, match="pip install itk-elastix"):
        load_itk()
    sys.modules.pop("itk", None)
