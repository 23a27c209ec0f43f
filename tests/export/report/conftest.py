"""Results of a small run; each test has its own, to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.small_run import small_run


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return small_run(tmp_path)
