"""Files that appear whole or not at all, and sums of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import atomic_path, read_sums, write_json, write_sums

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


def test_sums_are_readable_by_sha256sum_and_strict(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(CONTENT)
    write_sums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{DIGEST}  a.safetensors\n"
    (tmp_path / "SHA256SUMS").write_text("abc a.safetensors\n")
    with pytest.raises(WeightsError, match="SHA256SUMS, line 1"):
        read_sums(tmp_path)
