"""Sums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import read_sums, write_sums

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_sums_are_readable_by_sha256sum_and_strict(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(CONTENT)
    write_sums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text() == f"{DIGEST}  a.safetensors\n"
    (tmp_path / "SHA256SUMS").write_text("abc a.safetensors\n")
    with pytest.raises(WeightsError, match="SHA256SUMS, line 1"):
        read_sums(tmp_path)
