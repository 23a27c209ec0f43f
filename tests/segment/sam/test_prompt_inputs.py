"""Points and mask prompts on their way into segment-anything's prompt encoder, and what the cache saves there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medlsam.geometry import Grid
from medlsam.segment.prompts import SlicePrompt, zoomed
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.embedding_cache import EmbeddingCache
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.preprocess import scale_masks
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.volume import Volume

SAM, MEDSAM = SEGMENTERS["sam_vit_b"], SEGMENTERS["medsam_vit_b"]
SMALL = replace(SAM, input_size=64)


class CountingEncoder(nn.Module):
    """In place of the costly one: an embedding drawn from what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen += 1
        generator = torch.Generator().manual_seed(int(pixels.abs().sum()) % 2**31)
        return torch.randn(1, 32, 4, 4, generator=generator)


@pytest.fixture
def model() -> SamSlices:
    """segment-anything's prompt encoder and mask decoder, small, with random weights."""
    torch.manual_seed(0)
    parts, modeling = nn.Module(), sam_parts().modeling
    parts.image_encoder = CountingEncoder()
    parts.prompt_encoder = modeling.PromptEncoder(32, (4, 4), (64, 64), 16)
    transformer = modeling.TwoWayTransformer(depth=1, embedding_dim=32, mlp_dim=32, num_heads=2)
    parts.mask_decoder = modeling.MaskDecoder(transformer_dim=32, transformer=transformer)
    return SamSlices(parts, SMALL, torch.device("cpu"))


BOXES = np.array([[2.0, 3.0, 9.0, 8.0], [4.0, 5.0, 20.0, 25.0]])


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


def test_mask_prompts_change_the_boxes_that_have_one(model: SamSlices) -> None:
    embedding = model.encode(np.zeros((32, 32), np.int16))
    plain = model.decode(embedding, BOXES, (32, 32))
    mask_prompts = torch.full((2, 32, 32), torch.nan)
    mask_prompts[1] = 0
    mask_prompts[1, 10:20, 10:20] = 1
    found = model.decode(embedding, BOXES, (32, 32), mask_prompts=mask_prompts)
    torch.testing.assert_close(found[0], plain[0])
    assert not torch.allclose(found[1], plain[1])


@pytest.mark.parametrize(("spec", "rows"), [(SAM, 8), (MEDSAM, 16)])
def test_mask_prompts_cover_the_padded_input(spec: object, rows: int) -> None:
    small = replace(spec, input_size=64)  # type: ignore[type-var]
    masks = torch.zeros((2, 16, 32))
    masks[0, :, 16:] = 1  # the right half of a slice twice as wide as high
    masks[1] = torch.nan
    found = scale_masks(masks, small, (16, 16))
    inside = found[0] > 0
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[:rows, 8:] = True
    assert torch.equal(inside, expected)
    assert found[1].isnan().all()
    assert 5 < float(found[0].max()) < 20, "as sure as a mask of SAM"


def test_slices_inside_any_box_are_encoded_once_and_never_again(model: SamSlices, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(-100, 200, (6, 90, 100)).astype(np.int16)
    volume = Volume(array, Grid(array.shape))
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
