"""A random SAM ViT-B, its file, and a small SAM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.model import SamSlices, build_network
from medlsam.segment.sam.segmenter import WholeSliceSegmenter

SAM = SEGMENTERS["sam_vit_b"]


@pytest.fixture(scope="package")
def vit_b() -> dict[str, Tensor]:
    """A state dict of SAM ViT-B's keys and shapes, random values."""
    torch.manual_seed(0)
    return build_network("vit_b").state_dict()


@pytest.fixture(scope="package")
def vit_b_file(vit_b: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("sam") / "my_sam_vit_b.pth"
    torch.save(vit_b, path)
    yield path
    path.unlink()


@pytest.fixture(scope="package")
def loaded(vit_b_file: Path) -> WholeSliceSegmenter:
    """The file, loaded as users load it."""
    segmenter = load_segmenter(vit_b_file, "cpu")
    assert isinstance(segmenter, WholeSliceSegmenter)
    return segmenter


class StubEncoder(nn.Module):
    """Counts slices; its embedding is random but the same for the same slice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        generator = torch.Generator().manual_seed(len(self.seen))
        return torch.randn(1, 256, 64, 64, generator=generator)


@pytest.fixture
def stubbed(loaded: WholeSliceSegmenter) -> tuple[SamSlices, StubEncoder]:
    """The loaded model with a stub in place of its costly image encoder."""
    network = loaded.model.network  # type: ignore[attr-defined]
    stub, parts = StubEncoder(), nn.Module()
    parts.image_encoder, parts.prompt_encoder = stub, network.prompt_encoder
    parts.mask_decoder = network.mask_decoder
    return SamSlices(parts, SAM, torch.device("cpu")), stub


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
    return SamSlices(parts, replace(SAM, input_size=64), torch.device("cpu"))
