"""Results of a small run, and their page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medlsam.viewer.view_routes import view_page
from tests.support.small_run import small_run
from tests.support.web.served import Client, served


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page(results: Path) -> Iterator[Client]:
    with served([*view_page(results).routes()]) as client:
        yield client
