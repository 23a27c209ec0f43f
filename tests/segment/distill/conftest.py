"""Scans without labels, and a student with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data.distill_data import write_scans
from tests.support.data.tuning_data import write_tiny


@pytest.fixture(scope="package")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scans(tmp_path_factory.mktemp("distill") / "scans", range(5))


@pytest.fixture(scope="package")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("student") / "start.safetensors")
