"""Embeddings that are kept: how often a slice is encoded, what a folder holds, and what happens to damaged files."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.segment.prompts import SlicePrompt, zoomed
from medlsam.segment.sam.embedding_cache import EmbeddingCache, embedding_key
from medlsam.segment.sam.segmenter import WholeSliceSegmenter, keep_embeddings
from medlsam.volume import Volume

SHAPE = (8, 20, 24)


class CountingModel:
    """Its embedding is the slice's mean; a mask is everywhere in the slice, as likely as the mean is large."""

    def __init__(self) -> None:
        self.spec: Any = SimpleNamespace(name="counting", kind="sam")
        self.device, self.precision = torch.device("cpu"), "float32"
        self.encoded = 0
        self.asked: list[tuple[Any, Any]] = []

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        self.encoded += 1
        return torch.full((1, 4, 2, 2), float(np.asarray(slice_hu, float).mean()) / 100)

    def decode(
        self,
        embedding: Tensor,
        boxes: ArrayLike,
        shape_hw: tuple[int, int],
        points: ArrayLike | None = None,
        mask_prompts: Tensor | None = None,
    ) -> Tensor:
        self.asked.append((points, mask_prompts))
        return embedding.mean() * torch.ones((len(np.asarray(boxes)), *shape_hw))


def scan(seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).integers(-200, 300, SHAPE).astype(np.int16)
    return Volume(array, Grid(SHAPE))


def template_sets() -> tuple[dict[str, list[SlicePrompt]], dict[str, list[SlicePrompt]]]:
    """Two sets of boxes; the second's lie on slices that the first needed as well."""
    first = {
        "a": [SlicePrompt(z, (2.0, 3.0, 9.0, 8.0)) for z in (1, 2, 3)],
        "b": [SlicePrompt(z, (5.0, 5.0, 12.0, 15.0)) for z in (2, 3, 5)],
    }
    return first, {"c": [SlicePrompt(z, (6.0, 6.0, 20.0, 18.0)) for z in (1, 3, 5)]}


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_second_template_set_over_the_same_scan_encodes_nothing(on_disk: bool, tmp_path: Path) -> None:
    first, second = template_sets()
    cache = EmbeddingCache(tmp_path if on_disk else None)
    model = CountingModel()
    segmenter = WholeSliceSegmenter(model, "ab", cache)
    segmenter.segment(scan(), first)
    inside = {p.z for own in first.values() for p in own}
    assert model.encoded == len(inside) == 4, "each distinct slice inside any box once"
    segmenter.segment(scan(), second)
    assert model.encoded == 4
    if on_disk:  # another run: nothing in memory
        other = CountingModel()
        again = WholeSliceSegmenter(other, "ab", EmbeddingCache(tmp_path)).segment(scan(), second)
        assert other.encoded == 0
        own = segmenter.segment(scan(), second)
        assert np.array_equal(again["c"].probability, own["c"].probability), "kept or made, the same answer"
    segmenter.segment(scan(seed=1), second)
    assert model.encoded == 7, "another scan has other embeddings"


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


def test_a_folder_is_refused_where_it_cannot_serve(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot hold embeddings"):
        EmbeddingCache(tmp_path / "file")
    nameless = WholeSliceSegmenter(CountingModel())
    with pytest.raises(UsageError, match="came from no weights file"):
        keep_embeddings(nameless, EmbeddingCache(tmp_path))
    cache = EmbeddingCache(tmp_path)
    named = WholeSliceSegmenter(CountingModel(), "ab")
    assert keep_embeddings(named, cache) is named
    assert named.cache is cache


def test_views_points_and_mask_prompts_reach_the_model() -> None:
    model = CountingModel()
    segmenter = WholeSliceSegmenter(model)
    own = [SlicePrompt(1, (2.0, 3.0, 9.0, 8.0), point_xy=(5.5, 5.5))]
    views = zoomed(
        [SlicePrompt(1, (4.0, 4.0, 8.0, 8.0)), SlicePrompt(2, (4.0, 4.0, 8.0, 8.0))], 2.0, (20, 24)
    )
    found = segmenter.segment(scan(), {"a": own, "b": views})
    assert model.encoded == 2, "a view that holds all of a small slice is the slice itself"
    points, mask_prompts = model.asked[0]
    assert np.isnan(points[1]).all()
    assert points[0].tolist() == [5.5, 5.5]
    assert mask_prompts is None
    segmenter.segment(scan(), {"b": [SlicePrompt(1, (4.0, 4.0, 8.0, 8.0))]}, mask_prompts=found)
    _, mask_prompts = model.asked[-1]
    block = found["b"]
    _, y, x = block.origin_zyx
    inside = mask_prompts[0, y : block.end_zyx[1], x : block.end_zyx[2]]
    assert np.array_equal(inside.numpy(), block.probability[0])
    assert float(mask_prompts.sum()) == pytest.approx(float(inside.sum()))


def test_a_view_is_encoded_by_itself_and_its_mask_comes_back_to_its_place() -> None:
    array = np.zeros((2, 200, 200), np.int16)
    array[0, 100:, 100:] = 400
    prompt = SlicePrompt(0, (150.0, 150.0, 160.0, 160.0))
    volume = Volume(array, Grid(array.shape))
    model = CountingModel()
    close = zoomed([prompt], 2.0, (200, 200))
    assert close[0].view_xyxy == (124, 124, 188, 188)
    whole, zoom = (WholeSliceSegmenter(model).segment(volume, {"a": p})["a"] for p in ([prompt], close))
    assert model.encoded == 2
    assert whole.origin_zyx == zoom.origin_zyx
    assert whole.probability.max() < 0.75 < zoom.probability.min(), "the view shows nothing but the structure"
