"""Whole-slice SAM models: preprocessing, checkpoints, and one encoding a slice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medlsam.errors import GeometryError, UsageError, WeightsError
from medlsam.geometry import Grid
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment import load as segmenters
from medlsam.segment.load import load_segmenter
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam import _import as _sam_import
from medlsam.segment.sam.model import SamSlices, build_network, load_sam
from medlsam.segment.sam.preprocess import (
    prepare,
    restore,
    scale_boxes,
    spline,
    to_bytes,
)
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.volume import Volume
from medlsam.weights.checkpoint import Checkpoint

CPU = torch.device("cpu")
SAM, MEDSAM, LITE = SEGMENTERS["sam_vit_b"], SEGMENTERS["medsam_vit_b"], SEGMENTERS["litemedsam"]


# --- preprocessing: values worked by hand on tiny images, the input made small with them


def test_sam_window_mean_std_and_padding() -> None:
    # W400 L40 is -160..240 HU to 0..255: -160 -> 0, 40 -> 127.5 -> 127, 240 -> 255, beyond clipped
    image = np.array([[-1000, -160, 40, 240], [3000, 40, -60, 140]], dtype=np.int16)
    found = prepare(image, replace(SAM, input_size=4))
    levels = np.array([[0, 0, 127, 255], [255, 127, 63, 191]])
    assert found.shape == (1, 3, 4, 4)
    for channel, (mean, std) in enumerate([(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)]):
        np.testing.assert_allclose(found[0, channel, :2], (levels - mean) / std, atol=1e-5)
    assert (found[0, :, 2:] == 0).all()  # padded below, after the normalisation


def test_sam_longest_side_is_scaled_linearly() -> None:
    # two pixels 0 and 255 to four: half-pixel centres give 0, 1/4, 3/4, 1, in whole levels
    found = prepare(np.array([[-160, 240]]), replace(SAM, input_size=4))[0, 0]
    np.testing.assert_allclose(found[:2], (np.array([[0, 64, 191, 255]] * 2) - 123.675) / 58.395, atol=1e-5)
    assert (found[2:] == 0).all()


def test_sam_shrinks_with_antialiasing() -> None:
    stripes = np.tile([-160, 240], (16, 8))
    found = prepare(stripes, replace(SAM, input_size=4))[0, 0] * 58.395 + 123.675
    assert float((found - 127.5).abs().max()) < 30  # without it, a stripe would be hit or missed


def test_medsam_stretches_and_takes_each_slices_own_range() -> None:
    # -60 and 140 HU are the slice's least and most: 0 and 1, 40 HU in the middle; no mean, no std
    image = np.array([[-60, 40, 140, 40]], dtype=np.float32)
    found = prepare(image, replace(MEDSAM, input_size=4))
    np.testing.assert_allclose(found[0], np.broadcast_to([0, 0.5, 1, 0.5], (3, 4, 4)), atol=1e-5)
    clipped = prepare(np.array([[-1000, 40, 3000, 40]]), replace(MEDSAM, input_size=4))
    np.testing.assert_allclose(clipped[0, 0, 0], np.array([0, 127, 255, 127]) / 255, atol=1e-5)
    air = prepare(np.full((3, 4), -1000), replace(MEDSAM, input_size=4))
    assert (air == 0).all()


def test_medsam_is_resized_by_splines() -> None:
    edge = np.tile(np.array([-160, -160, -160, 240, 240, 240], dtype=np.float32), (6, 1))
    found = prepare(edge, replace(MEDSAM, input_size=12))[0, 0].numpy()
    np.testing.assert_allclose(found, spline(to_bytes(edge, MEDSAM), (12, 12)) / 255, atol=1e-6)
    assert 0.1 < found[5, 5] < 0.24  # a quarter of a pixel before the edge: nearest is 0, linear 0.25


def test_litemedsam_keeps_the_aspect_and_pads_with_zeros() -> None:
    # 8 x 4 to 4 x 2 by means of 2 x 2; the picture's own range to 0..1, then nothing right of it
    image = np.kron(np.array([[-160, 40], [240, 140]]), np.ones((4, 2)))
    found = prepare(image, replace(LITE, input_size=4))
    expected = np.array([[0, 127], [0, 127], [255, 191], [255, 191]]) / 255
    assert found.shape == (1, 3, 4, 4)
    np.testing.assert_allclose(
        found[0], np.broadcast_to(np.pad(expected, ((0, 0), (0, 2))), (3, 4, 4)), atol=1e-6
    )


def test_the_entries_are_the_publishers() -> None:
    facts = {s.name: (s.input_size, s.aspect, s.normalisation, s.interpolation) for s in SEGMENTERS.values()}
    sam = (1024, "longest", "mean_std", "bilinear")
    assert facts == {
        "sam-tiny": (96, "crop", "own", "own"),
        "sam_vit_b": sam,
        "sam_vit_l": sam,
        "sam_vit_h": sam,
        "medsam_vit_b": (1024, "stretch", "min_max", "spline"),
        "litemedsam": (256, "longest", "min_max", "area"),
        "mobile_sam": sam,
    }
    for spec in SEGMENTERS.values():
        assert (spec.level, spec.width) == (40, 400)
        if spec.normalisation == "mean_std":
            assert (spec.mean, spec.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def test_boxes_scale_with_the_image() -> None:
    # 512 wide, 256 high: SAM doubles both; MedSAM stretches 2 and 4 times
    box = [9.5, 19.5, 29.5, 39.5]  # from the edge: 10, 20, 30, 40
    assert scale_boxes(box, (256, 512), SAM).tolist() == [[20, 40, 60, 80]]
    assert scale_boxes(box, (256, 512), MEDSAM).tolist() == [[20, 80, 60, 160]]
    assert scale_boxes(box, (256, 512), LITE).tolist() == [[5, 10, 15, 20]]
    assert scale_boxes([-0.5, -0.5, 511.5, 255.5], (256, 512), SAM).tolist() == [[0, 0, 1024, 512]]


@pytest.mark.parametrize(("spec", "rows"), [(SAM, 128), (MEDSAM, 256), (LITE, 128)])
def test_masks_come_back_where_they_were(spec: Any, rows: int) -> None:
    logits = torch.full((1, 256, 256), -5.0)
    logits[:, : rows // 2, 128:] = 5.0  # the upper half of the image's part, right side
    found = restore(logits, (64, 128), spec)[0] > 0
    expected = torch.zeros(64, 128, dtype=torch.bool)
    expected[:32, 64:] = True
    assert torch.equal(found, expected)


def test_every_entry_has_weights_and_a_licence() -> None:
    for name, spec in SEGMENTERS.items():
        assert spec.name == name
        assert spec.licence
        assert spec.whole_slices == (spec.architecture is not None)
    assert str(SAM.url).endswith("sam_vit_b_01ec64.pth")
    assert MEDSAM.url is None


# --- segment-anything with and without torchvision


@pytest.fixture
def fresh_import(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nothing of segment-anything and torchvision imported; all as before afterwards."""

    def drop() -> None:
        for name in list(sys.modules):
            if name.split(".")[0] in ("segment_anything", "torchvision"):
                del sys.modules[name]

    kept = {k: v for k, v in sys.modules.items() if "segment_anything" in k or k.startswith("torchvision")}
    drop()
    _sam_import.sam_parts.cache_clear()
    yield monkeypatch
    drop()
    for name in [name for name in sys.modules if "segment_anything" in name]:
        del sys.modules[name]
    sys.modules.update(kept)
    _sam_import.sam_parts.cache_clear()


def fake_torchvision(folder: Path, init: str) -> None:
    for place in ("", "transforms", "ops"):
        (folder / "torchvision" / place).mkdir(parents=True, exist_ok=True)
        (folder / "torchvision" / place / "__init__.py").write_text("")
    (folder / "torchvision/__init__.py").write_text(init)
    (folder / "torchvision/transforms/functional.py").write_text("resize = to_pil_image = None")
    (folder / "torchvision/ops/boxes.py").write_text("batched_nms = box_area = None")


def test_the_real_package_is_preferred(fresh_import: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_torchvision(tmp_path, "")
    fresh_import.syspath_prepend(str(tmp_path))
    found = _sam_import.sam_parts()
    assert found.how == "package"
    assert found.modeling is sys.modules["segment_anything.modeling"]


@pytest.mark.parametrize(
    "error", ["RuntimeError('operator torchvision::nms does not exist')", "ImportError('no')"]
)
def test_a_broken_torchvision_is_gone_around(
    fresh_import: pytest.MonkeyPatch, tmp_path: Path, error: str
) -> None:
    fake_torchvision(tmp_path, f"raise {error}")
    fresh_import.syspath_prepend(str(tmp_path))
    found = _sam_import.sam_parts()
    assert found.how == "parts"
    assert error.split("'")[1] in found.reason
    assert {"vit_b", "vit_l", "vit_h"} <= set(found.build_sam.sam_model_registry)
    assert "segment_anything" not in sys.modules  # the user's own import is left alone
    assert "segment_anything.modeling" not in sys.modules


def test_a_missing_package_is_named(fresh_import: pytest.MonkeyPatch) -> None:
    fresh_import.setitem(sys.modules, "segment_anything", None)
    fresh_import.setattr(_sam_import, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        _sam_import.sam_parts()


# --- checkpoints


@pytest.fixture(scope="module")
def vit_b() -> dict[str, Tensor]:
    """A state dict of SAM ViT-B's keys and shapes, random values."""
    torch.manual_seed(0)
    return build_network("vit_b").state_dict()


@pytest.fixture(scope="module")
def vit_b_file(vit_b: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sam") / "my_sam_vit_b.pth"
    torch.save(vit_b, path)
    yield path
    path.unlink()


class StubEncoder(nn.Module):
    """Counts slices; its embedding is random but the same for the same slice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        generator = torch.Generator().manual_seed(len(self.seen))
        return torch.randn(1, 256, 64, 64, generator=generator)


@pytest.fixture(scope="module")
def loaded(vit_b_file: Path) -> WholeSliceSegmenter:
    """The file through the real path, its costly image encoder replaced by a stub."""
    segmenter = load_segmenter(vit_b_file, "cpu")
    assert isinstance(segmenter, WholeSliceSegmenter)
    return segmenter


def test_a_vit_b_file_loads_every_value(loaded: WholeSliceSegmenter, vit_b: dict[str, Tensor]) -> None:
    network = loaded.model.network  # type: ignore[attr-defined]
    state = network.state_dict()
    assert state.keys() == vit_b.keys()
    assert all(torch.equal(state[key], vit_b[key]) for key in vit_b)
    assert loaded.spec is SAM
    assert len(loaded.signature) == 64
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def stubbed(loaded: WholeSliceSegmenter, spec: Any = SAM) -> tuple[SamSlices, StubEncoder]:
    network = loaded.model.network  # type: ignore[attr-defined]
    stub, parts = StubEncoder(), nn.Module()
    parts.image_encoder, parts.prompt_encoder = stub, network.prompt_encoder
    parts.mask_decoder = network.mask_decoder
    return SamSlices(parts, spec, CPU), stub


def test_decoding_is_segment_anythings_own(loaded: WholeSliceSegmenter) -> None:
    model, _ = stubbed(loaded)
    image = np.zeros((40, 64), dtype=np.int16)
    embedding = model.encode(image)
    boxes = np.array([[i, 2 * i, i + 20.0, 2 * i + 15.0] for i in range(6)])  # more than one chunk
    found = model.decode(embedding, boxes, image.shape)
    assert found.shape == (6, 40, 64)
    with torch.no_grad():
        edges = torch.as_tensor((boxes + 0.5) * 16, dtype=torch.float32)
        sparse, dense = model.network.prompt_encoder(points=None, boxes=edges[4:5], masks=None)
        low, _ = model.network.mask_decoder(
            image_embeddings=embedding,
            image_pe=model.network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        network = loaded.model.network  # type: ignore[attr-defined]
        expected = network.postprocess_masks(low, input_size=(640, 1024), original_size=(40, 64))[0, 0]
    torch.testing.assert_close(found[4], expected, atol=1e-4, rtol=1e-4)
    assert model.decode(embedding, np.zeros((0, 4)), image.shape).shape == (0, 40, 64)


def test_each_slice_is_encoded_once(loaded: WholeSliceSegmenter) -> None:
    model, stub = stubbed(loaded)
    array = np.zeros((6, 20, 24), dtype=np.int16)
    array += np.arange(6, dtype=np.int16)[:, None, None] * 10
    volume = Volume(array, Grid(array.shape))
    prompts = {
        "a": [SlicePrompt(z, (2.0, 3.0, 9.0, 8.0)) for z in (1, 2, 3)],
        "b": [SlicePrompt(z, (5.0, 5.0, 12.0, 15.0)) for z in (2, 3, 5)],
        "c": [SlicePrompt(3, (-0.5, -0.5, 23.5, 19.5))],
        "none": [],
    }
    watch = Stopwatch()
    blocks = WholeSliceSegmenter(model).segment(volume, prompts, watch)
    assert len(stub.seen) == 4  # slices 1, 2, 3 and 5, however many structures
    assert all(torch.equal(s, prepare(array[z], SAM)) for s, z in zip(stub.seen, (1, 2, 3, 5), strict=True))
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


def test_a_prompt_outside_of_the_scan_is_refused(loaded: WholeSliceSegmenter) -> None:
    model, stub = stubbed(loaded)
    volume = Volume(np.zeros((3, 8, 8), dtype=np.int16), Grid((3, 8, 8)))
    with pytest.raises(GeometryError, match="scan has 0 to 2"):
        WholeSliceSegmenter(model).segment(volume, {"a": [SlicePrompt(3, (0, 0, 4, 4))]})
    assert not stub.seen


def test_missing_and_changed_tensors_are_named(vit_b: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(vit_b)
    del state["mask_decoder.mask_tokens.weight"]
    state["mask_decoder.extra"] = torch.zeros(1)
    state["image_encoder.neck.0.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"1 missing \(mask_decoder.mask_tokens.weight\)") as caught:
        load_sam(tmp_path / "x.pth", SAM, CPU, Checkpoint(state))
    assert "1 not known (mask_decoder.extra)" in str(caught.value)
    assert "image_encoder.neck.0.weight (1,) instead of (256, 768, 1, 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sam_vit_b_01ec64", "sam_vit_b"),
        ("medsam_vit_b", "medsam_vit_b"),
        ("MedSAM-vit-b", "medsam_vit_b"),
        ("medsam_20230423_vit_b_0.0.1", "medsam_vit_b"),
        ("my_sam_vit_b", "sam_vit_b"),
        ("model_best", None),
    ],
)
def test_a_vit_b_file_must_say_whose_it_is(name: str, expected: str | None) -> None:
    path = Path(f"{name}.pth")
    if expected is None:
        with pytest.raises(WeightsError, match="sam_vit_b or medsam_vit_b"):
            segmenters._spec_of(path, "", "vit_b")
    else:
        assert segmenters._spec_of(path, "", "vit_b").name == expected
    assert segmenters._spec_of(path, str(SAM.sha256), "vit_b") is SAM
    assert segmenters._spec_of(path, "", "vit_h").name == "sam_vit_h"


def test_another_encoder_than_the_name_asks_for_is_refused(vit_b: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="holds a SAM vit_b; sam_vit_h needs vit_h"):
        load_sam("x.pth", SEGMENTERS["sam_vit_h"], CPU, Checkpoint(dict(vit_b)))
