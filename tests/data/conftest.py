"""No network: what a machine sets for downloads is taken away, and pauses do not last."""

from __future__ import annotations

import pytest

from medlsam.runtime import http_transfer


@pytest.fixture(autouse=True)
def _quiet_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEDLSAM_OFFLINE", "MEDLSAM_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(http_transfer, "_pause", lambda _: None)
