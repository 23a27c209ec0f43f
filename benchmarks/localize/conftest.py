"""What the tests of these benchmarks share."""

from __future__ import annotations

import pytest

from benchmarks.common import SeenOnce
from tests.conftest import real_ct
from tests.support.fakes.fake_localizer import FakeLocalizer

__all__ = ["localizer", "real_ct"]


@pytest.fixture
def localizer() -> SeenOnce:
    return SeenOnce(FakeLocalizer())  # type: ignore[arg-type]
