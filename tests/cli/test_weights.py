"""``medlsam weights``."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlsam.weights.registry import ENTRIES
from tests.support.command_line import call, document


def test_weights_list() -> None:
    found = document(call("weights", "list", "--json"))
    assert list(found) == list(ENTRIES)
    assert found["sam_vit_b"]["kind"] == "segmenter"
    assert "medlam-tiny" in call("weights", "list").stdout


def test_weights_verify_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.pth").write_bytes(b"weights")
    result = call("weights", "verify", tmp_path / "mine.pth", "--json")
    assert result.exit_code == 1
    assert document(result)["files"][0]["state"] == "unknown"
    assert call("weights", "verify", tmp_path / "none.pth").exit_code == 2


def test_weights_download_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path))
    monkeypatch.setenv("MEDLSAM_OFFLINE", "1")
    result = call("weights", "download", "sam_vit_b")
    assert result.exit_code == 2
    assert "MEDLSAM_OFFLINE is set" in result.stderr
