"""``medlsam weights``."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from medlsam.weights import registry
from medlsam.weights.entries import ENTRIES
from tests.support.command_line import call, document
from tests.support.web.web_server import Site, serve


def test_weights_list() -> None:
    found = document(call("weights", "list", "--json"))
    assert list(found) == list(ENTRIES)
    assert found["sam_vit_b"]["kind"] == "segmenter"
    keys = ("kind", "present", "state", "bytes", "licence", "trained_on", "sha256", "path", "url", "source")
    assert all(set(keys) <= set(entry) for entry in found.values())
    assert len(found["sam_vit_b"]["sha256"]) == 64
    assert found["medlam-tiny"]["present"]
    assert found["medlam-tiny"]["bytes"] > 1_000_000
    table = call("weights", "list").stdout
    for text in ("medlam-tiny", "ec2df627", "375", "OpenKBP", "Apache-2.0", "no, bring it"):
        assert text in table


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


def test_weights_download_from_a_mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = b"weights" * 1000
    item = replace(ENTRIES["sam_vit_b"], known_sha256=hashlib.sha256(content).hexdigest(), bytes=None)
    monkeypatch.setattr(registry, "ENTRIES", {"sam_vit_b": item})
    for name, value in (
        ("MEDLSAM_HOME", str(tmp_path)),
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "127.0.0.1"),
    ):
        monkeypatch.setenv(name, value)
    with serve(Site({f"/m/{item.file}": content})) as site:
        result = call("weights", "download", "sam_vit_b", "--mirror", f"{site.address}/m", "--json")
    assert result.exit_code == 0, result.stderr
    assert document(result) == {"name": "sam_vit_b", "path": str(tmp_path / "weights" / item.file)}
    assert (tmp_path / "weights" / item.file).read_bytes() == content
    assert call("weights", "download", "sam_vit_b", "--mirror", "x").exit_code == 0  # it is here


def test_weights_that_cannot_be_downloaded_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLSAM_HOME", str(tmp_path))
    result = call("weights", "download", "published")
    assert result.exit_code == 2
    assert "--localizer published --weights medlam.pth" in result.stderr
    assert "Traceback" not in result.stderr
