"""A Dask cluster as somebody's would be found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two workers for all tests; one that dies is started again."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Any) -> str:
    """The scheduler's."""
    return str(cluster.scheduler_address)
