"""Fixtures of the tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlsam.io.write import write_volume
from medlsam.pipeline.model import MedLSAM
from tests.support.batch_runs import GRID
from tests.support.fakes.stub_model import (
    draw_ct,
    stub_model,
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MedLSAM:
    return stub_model(monkeypatch)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three scans; the second has no plate."""
    for number, name in enumerate(("a", "b", "c")):
        volume = draw_ct(GRID, without=["plate"] if name == "b" else [], seed=number)
        write_volume(volume, tmp_path / "scans" / f"{name}_0000.nii.gz")
    return tmp_path / "scans"
