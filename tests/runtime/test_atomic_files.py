"""Files that appear whole or not at all, and sums of files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import atomic_path, read_sums, write_json, write_sums
from tests.support.interrupts import after_making

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_atomic_files_are_whole_or_absent(tmp_path):
    target = tmp_path / "new" / "a.json"
    write_json(target, {"name": "Müller", "x": 1.5})
    assert json.loads(target.read_text(encoding="utf-8")) == {"name": "Müller", "x": 1.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, float("nan"))

    def stop():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            assert temporary.parent == target.parent
            assert temporary.suffix == ".json"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert json.loads(target.read_text(encoding="utf-8"))["x"] == 1.5
    assert [f.name for f in target.parent.iterdir()] == ["a.json"]


def test_nothing_stays_where_ctrl_c_comes_just_after_the_file_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_making(monkeypatch, "touch", ".tmp-")
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "a.json", {})
    assert not list(tmp_path.iterdir())


def test_a_file_gets_the_permissions_that_any_new_file_gets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


def test_sums_are_readable_by_sha256sum_and_strict(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(CONTENT)
    write_sums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{DIGEST}  a.safetensors\n"
    (tmp_path / "SHA256SUMS").write_text("abc a.safetensors\n")
    with pytest.raises(WeightsError, match="SHA256SUMS, line 1"):
        read_sums(tmp_path)
