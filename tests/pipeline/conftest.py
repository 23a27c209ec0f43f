"""Fixtures of the pipeline's tests."""

from __future__ import annotations

import pytest

from medlsam.pipeline.model import MedLSAM
from tests.support.fakes.stub_model import (
    stub_model,
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MedLSAM:
    return stub_model(monkeypatch)
