"""Embeddings that are kept: what a folder holds, and what happens to damaged files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medlsam.segment.sam.embedding_cache import EmbeddingCache, embedding_key


def test_an_embedding_belongs_to_pixels_model_and_preprocessing() -> None:
    pixels = np.arange(12, dtype=np.int16).reshape(3, 4)
    key = embedding_key(pixels, "model", "spec")
    assert embedding_key(np.asfortranarray(pixels), "model", "spec") == key
    others = (
        embedding_key(pixels + 1, "model", "spec"),
        embedding_key(pixels.reshape(4, 3), "model", "spec"),
        embedding_key(pixels.astype(np.uint16), "model", "spec"),
        embedding_key(pixels, "other", "spec"),
        embedding_key(pixels, "model", "other"),
    )
    assert key not in others


def test_damaged_and_foreign_files_are_made_anew(tmp_path: Path) -> None:
    key, other = "a" * 64, "b" * 64
    EmbeddingCache(tmp_path).get(key, lambda: torch.ones(4, 4))
    path = tmp_path / f"{key}.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\0" * 40):
        path.write_bytes(content)
        cache = EmbeddingCache(tmp_path)
        assert torch.equal(cache.get(key, lambda: torch.full((4, 4), 2.0)), torch.full((4, 4), 2.0))
        assert (cache.made, cache.found) == (1, 0)
    os.replace(path, tmp_path / f"{other}.safetensors")
    cache = EmbeddingCache(tmp_path)
    assert torch.equal(cache.get(other, lambda: torch.zeros(1)), torch.zeros(1)), "signed with its own key"


def test_nothing_is_left_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("medlsam.segment.sam.embedding_cache.save_file", full)
    found = EmbeddingCache(tmp_path).get("a" * 64, lambda: torch.ones(2))
    assert torch.equal(found, torch.ones(2)), "a full disk costs time, not the answer"
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_bounded_and_the_last_used_stay(tmp_path: Path) -> None:
    mine = tmp_path / "notes.safetensors"
    mine.write_text("not an embedding")
    stale = tmp_path / ".tmp-abc.safetensors"
    stale.write_bytes(b"0" * 100)
    os.utime(stale, (0, 0))
    keys = [f"{number:064x}" for number in range(6)]
    size = 2 * 4096 + 200
    for age, key in enumerate(keys[:4]):
        EmbeddingCache(tmp_path).get(key, lambda: torch.ones(4096))
        os.utime(tmp_path / f"{key}.safetensors", (1000 + age, 1000 + age))
    cache = EmbeddingCache(tmp_path, disk_bytes=4 * size)
    cache.get(keys[0], lambda: pytest.fail("it is there"))  # the oldest, but used just now
    cache.get(keys[4], lambda: torch.ones(4096))
    left = {path.stem for path in tmp_path.glob("*.safetensors")} - {"notes"}
    assert keys[0] in left
    assert keys[4] in left
    assert keys[1] not in left
    total = sum(path.stat().st_size for path in tmp_path.glob("0*.safetensors"))
    assert total <= 4 * size
    assert mine.exists(), "only embeddings are ours to remove"
    assert not stale.exists()


def test_memory_is_bounded() -> None:
    cache = EmbeddingCache(memory_bytes=2 * 40)
    for key in ("x", "y", "x", "z"):  # y was used longest ago when z comes
        cache.get(key, lambda: torch.ones(10))
    assert (cache.made, cache.found) == (3, 1)
    cache.get("x", lambda: torch.ones(10))
    assert cache.made == 3
    cache.get("y", lambda: torch.ones(10))
    assert cache.made == 4
