"""The network of a SAM: every value of a file is loaded, and decoding is segment-anything's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medlsam.errors import WeightsError
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.model import SamSlices, load_sam
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.weights.checkpoint import Checkpoint

CPU = torch.device("cpu")
SAM = SEGMENTERS["sam_vit_b"]
BOXES = np.array([[2.0, 3.0, 9.0, 8.0], [4.0, 5.0, 20.0, 25.0]])


def test_a_vit_b_file_loads_every_value(loaded: WholeSliceSegmenter, vit_b: dict[str, Tensor]) -> None:
    network = loaded.model.network  # type: ignore[attr-defined]
    state = network.state_dict()
    assert state.keys() == vit_b.keys()
    assert all(torch.equal(state[key], vit_b[key]) for key in vit_b)
    assert loaded.spec is SAM
    assert len(loaded.signature) == 64
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_decoding_is_segment_anythings_own(
    loaded: WholeSliceSegmenter, stubbed: tuple[SamSlices, Any]
) -> None:
    model, _ = stubbed
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


def test_missing_and_changed_tensors_are_named(vit_b: dict[str, Tensor], tmp_path: Path) -> None:
    state = dict(vit_b)
    del state["mask_decoder.mask_tokens.weight"]
    state["mask_decoder.extra"] = torch.zeros(1)
    state["image_encoder.neck.0.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"1 missing \(mask_decoder.mask_tokens.weight\)") as caught:
        load_sam(tmp_path / "x.pth", SAM, CPU, Checkpoint(state))
    assert "1 not known (mask_decoder.extra)" in str(caught.value)
    assert "image_encoder.neck.0.weight (1,) instead of (256, 768, 1, 1)" in str(caught.value)


def test_another_encoder_than_the_name_asks_for_is_refused(vit_b: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="holds a SAM vit_b; sam_vit_h needs vit_h"):
        load_sam("x.pth", SEGMENTERS["sam_vit_h"], CPU, Checkpoint(dict(vit_b)))


def test_points_are_scaled_as_boxes_are_and_said_to_be_inside(model: SamSlices) -> None:
    embedding = model.encode(np.zeros((32, 32), np.int16))
    plain = model.decode(embedding, BOXES, (32, 32))
    points = np.array([[5.5, 5.5], [np.nan, np.nan]])
    found = model.decode(embedding, BOXES, (32, 32), points)
    network = model.network
    with torch.no_grad():
        edges = torch.as_tensor((BOXES[:1] + 0.5) * 2, dtype=torch.float32)  # 32 pixels to 64
        place = (torch.tensor([[[12.0, 12.0]]]), torch.ones((1, 1)))
        sparse, dense = network.prompt_encoder(points=place, boxes=edges, masks=None)
        low, _ = network.mask_decoder(
            image_embeddings=embedding,
            image_pe=network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
    expected = nn.functional.interpolate(low, (64, 64), mode="bilinear")
    expected = nn.functional.interpolate(expected, (32, 32), mode="bilinear")[0, 0]
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[0], plain[0])
    assert torch.isfinite(found).all()


def test_points_outside_are_said_to_be_outside(model: SamSlices) -> None:
    embedding = model.encode(np.zeros((32, 32), np.int16))
    inside = np.array([[[5.5, 5.5, 1.0]], [[np.nan] * 3]])
    torch.testing.assert_close(
        model.decode(embedding, BOXES, (32, 32), inside),
        model.decode(embedding, BOXES, (32, 32), inside[:, 0, :2]),
    )
    outside = inside * [1, 1, 0]
    found = model.decode(embedding, BOXES, (32, 32), outside)
    network = model.network
    with torch.no_grad():
        edges = torch.as_tensor((BOXES[:1] + 0.5) * 2, dtype=torch.float32)
        place = (torch.tensor([[[12.0, 12.0]]]), torch.zeros((1, 1)))
        expected = network.prompt_encoder(points=place, boxes=edges, masks=None)[0]
        asked = model._prompts(edges, torch.tensor([[[12.0, 12.0, 0.0]]]), None)[0]
    torch.testing.assert_close(asked, expected)
    assert not torch.allclose(found[0], model.decode(embedding, BOXES, (32, 32), inside)[0])


def test_mask_prompts_change_the_boxes_that_have_one(model: SamSlices) -> None:
    embedding = model.encode(np.zeros((32, 32), np.int16))
    plain = model.decode(embedding, BOXES, (32, 32))
    mask_prompts = torch.full((2, 32, 32), torch.nan)
    mask_prompts[1] = 0
    mask_prompts[1, 10:20, 10:20] = 1
    found = model.decode(embedding, BOXES, (32, 32), mask_prompts=mask_prompts)
    torch.testing.assert_close(found[0], plain[0])
    assert not torch.allclose(found[1], plain[1])
