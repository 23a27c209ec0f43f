"""Whole-slice segmentation: one encoding a slice, views, points and mask prompts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.prompts import SlicePrompt, zoomed
from medlsam.segment.sam.embedding_cache import EmbeddingCache
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.preprocess import (
    prepare,
)
from medlsam.segment.sam.segmenter import WholeSliceSegmenter, keep_embeddings
from medlsam.volume import Image

SHAPE = (8, 20, 24)


def test_each_slice_is_encoded_once(stubbed: tuple[SamSlices, Any]) -> None:
    model, stub = stubbed
    array = np.zeros((6, 20, 24), dtype=np.int16)
    array += np.arange(6, dtype=np.int16)[:, None, None] * 10
    volume = Image(array, Grid(array.shape))
    prompts = {
        "a": [SlicePrompt(z, (2.0, 3.0, 9.0, 8.0)) for z in (1, 2, 3)],
        "b": [SlicePrompt(z, (5.0, 5.0, 12.0, 15.0)) for z in (2, 3, 5)],
        "c": [SlicePrompt(3, (-0.5, -0.5, 23.5, 19.5))],
        "none": [],
    }
    watch = Stopwatch()
    blocks = WholeSliceSegmenter(model).segment(volume, prompts, watch)
    assert len(stub.seen) == 4  # slices 1, 2, 3 and 5, however many structures
    assert all(
        torch.equal(s, prepare(array[z], model.spec)) for s, z in zip(stub.seen, (1, 2, 3, 5), strict=True)
    )
    assert list(blocks) == ["a", "b", "c"]
    assert (blocks["c"].origin_zyx, blocks["c"].probability.shape) == ((3, 0, 0), (1, 20, 24))
    assert set(watch.seconds) == {"encode", "decode"}

    b = blocks["b"]  # slices 2 to 5; nothing on 4, which has no prompt
    assert b.origin_zyx[0] == 2
    assert b.probability.shape[0] == 4
    assert (b.probability[2] == 0).all()
    generator = torch.Generator().manual_seed(2)  # slice 2 was encoded second
    embedding = torch.randn(1, 256, 64, 64, generator=generator)
    logits = model.decode(embedding, [prompts["b"][0].box_xyxy], (20, 24))[0]
    y, x = b.origin_zyx[1:]
    height, width = b.probability.shape[1:]
    expected = torch.sigmoid(logits)[y : y + height, x : x + width]
    np.testing.assert_allclose(b.probability[0], expected, atol=1e-5)
    assert y <= 5
    assert x <= 5
    assert x + width >= 13
    assert y + height >= 16


def test_a_prompt_outside_of_the_scan_is_refused(stubbed: tuple[SamSlices, Any]) -> None:
    model, stub = stubbed
    volume = Image(np.zeros((3, 8, 8), dtype=np.int16), Grid((3, 8, 8)))
    with pytest.raises(GeometryError, match="scan has 0 to 2"):
        WholeSliceSegmenter(model).segment(volume, {"a": [SlicePrompt(3, (0, 0, 4, 4))]})
    assert not stub.seen


def test_slices_inside_any_box_are_encoded_once_and_never_again(model: SamSlices, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-100, 200, (6, 90, 100)).astype(np.int16)
    volume = Image(array, Grid(array.shape))
    first = {
        "a": [SlicePrompt(z, (20.0, 30.0, 60.0, 70.0)) for z in (1, 2, 3)],
        "b": [SlicePrompt(z, (10.0, 10.0, 30.0, 30.0)) for z in (2, 3, 5)],
    }
    second = {"c": [SlicePrompt(z, (40.0, 40.0, 80.0, 80.0)) for z in (2, 5)]}
    encoder = model.network.image_encoder
    WholeSliceSegmenter(model, "ab", EmbeddingCache(tmp_path)).segment(volume, first)
    assert encoder.seen == 4
    again = WholeSliceSegmenter(model, "ab", EmbeddingCache(tmp_path))
    again.segment(volume, second)
    assert encoder.seen == 4
    close = {name: zoomed(own, 1.5, (90, 100)) for name, own in first.items()}
    again.segment(volume, close)
    assert encoder.seen == 4 + 6, "a view of its own for each structure and slice: what zoom costs"
    again.segment(volume, close)
    assert encoder.seen == 10


class CountingModel:
    """Its embedding is the slice's mean; a mask is everywhere in the slice, as likely as the mean is large."""

    def __init__(self) -> None:
        self.spec: Any = SimpleNamespace(name="counting", kind="sam")
        self.device, self.precision = torch.device("cpu"), "float32"
        self.encoded = 0
        self.asked: list[tuple[Any, Any]] = []

    def encode(self, slice_hu: NDArray[np.generic], window_hu: tuple[float, float] | None = None) -> Tensor:
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


def scan(seed: int = 0) -> Image:
    array = np.random.default_rng(seed).integers(-200, 300, SHAPE).astype(np.int16)
    return Image(array, Grid(SHAPE))


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
    volume = Image(array, Grid(array.shape))
    model = CountingModel()
    close = zoomed([prompt], 2.0, (200, 200))
    assert close[0].view_xyxy == (124, 124, 188, 188)
    whole, zoom = (WholeSliceSegmenter(model).segment(volume, {"a": p})["a"] for p in ([prompt], close))
    assert model.encoded == 2
    assert whole.origin_zyx == zoom.origin_zyx
    assert whole.probability.max() < 0.75 < zoom.probability.min(), "the view shows nothing but the structure"
