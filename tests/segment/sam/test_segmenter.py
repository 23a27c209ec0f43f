"""Whole-slice segmentation: one encoding a slice, views, points and mask prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
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
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.localize.build_templates import HU_QUANTILES
from medlsam.phantoms import Phantom, phantom
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.prompts import SlicePrompt, zoomed
from medlsam.segment.propagate import Propagation
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.segment.sam.embedding_cache import EmbeddingCache, embedding_key
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.preprocess import (
    prepare,
    to_bytes,
)
from medlsam.segment.sam.segmenter import WholeSliceSegmenter, keep_embeddings
from medlsam.segment.windows import choose_window, in_window
from medlsam.volume import Image, to_canonical

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
    own = [SlicePrompt(1, (2.0, 3.0, 9.0, 8.0), point_xy=(5.5, 5.5), outside_xy=((1.0, 2.0),))]
    views = zoomed(
        [SlicePrompt(1, (4.0, 4.0, 8.0, 8.0)), SlicePrompt(2, (4.0, 4.0, 8.0, 8.0))], 2.0, (20, 24)
    )
    found = segmenter.segment(scan(), {"a": own, "b": views})
    assert model.encoded == 2, "a view that holds all of a small slice is the slice itself"
    points, mask_prompts = model.asked[0]
    assert np.isnan(points[1]).all()
    assert points[0].tolist() == [[5.5, 5.5, 1.0], [1.0, 2.0, 0.0]]
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


# --- windows


def test_a_slice_is_encoded_once_for_each_window(stubbed: tuple[SamSlices, Any]) -> None:
    model, stub = stubbed
    volume = scan()
    bone = (-500.0, 1300.0)
    boxes = [SlicePrompt(z, (2.0, 3.0, 9.0, 8.0)) for z in (1, 2)]
    prompts = {"a": boxes, "b": in_window(boxes, *bone), "c": in_window(boxes, *bone)}
    segmenter = WholeSliceSegmenter(model)
    segmenter.segment(volume, prompts)
    assert len(stub.seen) == 4
    specs = [model.spec, replace(model.spec, level=400.0, width=1800.0)] * 2
    for seen, z, spec in zip(stub.seen, (1, 1, 2, 2), specs, strict=True):
        assert torch.equal(seen, prepare(volume.array[z], spec))
    segmenter.segment(volume, prompts)
    assert len(stub.seen) == 4


def test_embeddings_of_other_windows_are_other_files(tmp_path: Path) -> None:
    boxes = [SlicePrompt(2, (2.0, 3.0, 9.0, 8.0))]
    model = CountingModel()
    model.spec = SEGMENTERS["sam_vit_b"]
    segmenter = WholeSliceSegmenter(model, "ab", EmbeddingCache(tmp_path, memory_bytes=0))
    for own in (boxes, in_window(boxes, -500, 1300), in_window(boxes, -1350, 150), boxes):
        segmenter.segment(scan(), {"a": own})
    assert model.encoded == 3
    # What was kept before there were windows is found: that key has not changed.
    key = embedding_key(scan().array[2], "ab", model.spec)
    assert (tmp_path / f"{key}.safetensors").is_file()
    assert "windows" not in repr(model.spec)


def test_soft_tissue_comes_out_as_in_the_models_own_window(stubbed: tuple[SamSlices, Any]) -> None:
    model, stub = stubbed
    volume = scan()
    found = []
    for window in ("auto", "model", (-160.0, 240.0)):
        stub.seen.clear()  # its embeddings depend on how many there were
        request = SegmentationRequest(
            [SlicePrompt(z, (2.0, 3.0, 9.0, 8.0)) for z in (1, 2, 3)],
            propagation=Propagation(),
            window=window,
            hu=(-20.0, 40.0, 300.0),
        )
        found.append(segment_requests(WholeSliceSegmenter(model), volume, {"liver": request})["liver"])
    assert found[0].probability.any()
    for other in found[1:]:
        np.testing.assert_array_equal(found[0].probability, other.probability)


#: Named window in which each model is shown lungs.
LUNG = {"sam_vit_b": "lung-wide", "mobile_sam": "lung-wide"} | dict.fromkeys(
    ("medsam_vit_b", "litemedsam"), "lung-medsam"
)


@pytest.mark.parametrize("name", ["sam_vit_b", "medsam_vit_b", "litemedsam", "mobile_sam"])
@pytest.mark.parametrize(
    ("structure", "window"), [("lung_left", "lung"), ("mandible", "bone"), ("liver", None)]
)
def test_a_box_of_a_phantom_has_contrast(name: str, structure: str, window: str | None) -> None:
    made = body()
    (value,) = [value for value, label in made.names.items() if label == structure]
    before, after, chosen = saturation(made.image, made.labels.array == value, SEGMENTERS[name])
    assert chosen == (LUNG[name] if window == "lung" else window)
    if window is None:
        assert after == before < 0.1
    else:
        assert before > 0.9, "black or white in soft tissue's window"
        assert after < 0.05


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["sam_vit_b", "medsam_vit_b"])
@pytest.mark.parametrize(
    ("image", "labels", "value", "window"),
    [
        ("body/lidc_0001/image.nii.gz", "body/lidc_0001/labels.nii.gz", 1, "lung"),
        (
            "openkbp/templates/imagesTr/openkbp_066_0000.nii.gz",
            "openkbp/templates/labelsTr/openkbp_066.nii.gz",
            "Mandible",
            "bone",
        ),
    ],
)
def test_a_box_of_a_real_scan_has_contrast(
    real_ct: Path, name: str, image: str, labels: str, value: int | str, window: str
) -> None:
    if isinstance(value, str):
        value = json.loads((real_ct / "openkbp" / "dataset.json").read_text())["labels"][value]
    mask = to_canonical(read_label_map(real_ct / labels)).array == value
    scanned = to_canonical(read_image(real_ct / image))
    before, after, chosen = saturation(scanned, mask, SEGMENTERS[name])
    assert chosen == (LUNG[name] if window == "lung" else window)
    assert before > 0.7
    assert after < 0.2


@lru_cache(maxsize=1)
def body() -> Phantom:
    return phantom(11, (5.0, 5.0, 5.0), "body")


def saturation(image: Image, mask: NDArray[np.bool_], spec: SegmenterSpec) -> tuple[float, float, str | None]:
    """Shares of a structure's pixels that are black or white in the model's picture: its own window, and the chosen."""
    window = choose_window(np.quantile(image.array[mask], HU_QUANTILES), spec)
    shown = spec.in_window(None if window is None else (window.low, window.high))
    shares = []
    for own in (spec, shown):
        grey = np.concatenate(
            [to_bytes(image.array[z], own)[mask[z]] for z in np.flatnonzero(mask.any(axis=(1, 2)))]
        )
        shares.append(float(np.isin(grey, (0, 255)).mean()))
    return shares[0], shares[1], None if window is None else window.name
