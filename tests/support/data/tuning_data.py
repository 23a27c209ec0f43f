"""Labelled scans to fine-tune on, and small segmenters with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.runtime.atomic_files import write_json
from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.labelled import LabelledScan
from medlsam.segment.finetune.slice_tuner import SliceTuner
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam._import import sam_parts
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam_tiny.network import TinyConfig, TinySam
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.volume import Image, LabelMap
from medlsam.weights.store import save_weights

SMALL = TinyConfig(
    size=32, stem=8, quarter=8, eighth=16, sixteenth=16, dim=32, heads=4, mlp=32, refits=0, min_side_mm=20
)
GRID = Grid((5, 28, 36), (1.5, 1.5, 4.0))


def egg(seed: int, radius: float = 7.0) -> tuple[Image, LabelMap]:
    """A bright disc in noise under air, and its label, somewhere else in each scan."""
    rng = np.random.default_rng(seed)
    _, y, x = np.meshgrid(*[np.arange(n) for n in GRID.shape_zyx], indexing="ij")
    center = rng.uniform(12, 16, 2)
    mask = (x - center[0] - 4) ** 2 + (y - center[1]) ** 2 <= radius**2
    mask[[0, -1]] = False
    image = np.where(mask, 120, -20) + rng.normal(0, 10, GRID.shape_zyx)
    image[:, :3] = -1000
    return Image(image.astype(np.int16), GRID), LabelMap(mask.astype(np.uint8), GRID)


def scan(seed: int, patient: str = "p") -> LabelledScan:
    image, labels = egg(seed)
    return LabelledScan(f"egg_{seed}", patient, image, labels, {1: "egg"})


def write_case(folder: Path, name: str, seed: int, radius: float = 7.0) -> None:
    image, labels = egg(seed, radius)
    write_volume(image, folder / name / "image.nii.gz")
    write_volume(labels, folder / name / "labels.nii.gz")
    write_json(folder / "labels.json", {"egg": 1})


def write_cases(folder: Path, seeds: Sequence[int]) -> Path:
    for seed in seeds:
        write_case(folder, f"egg_{seed}", seed)
    return folder


def write_tiny(path: Path, seed: int = 0) -> Path:
    """A sam-tiny file with random weights."""
    torch.manual_seed(seed)
    save_weights(path, TinySam(SMALL).state_dict(), asdict(SMALL), kind="segmenter")
    return path


class SmallEncoder(nn.Module):
    """Stands in for SAM's image encoder: an embedding of the right shape from the slice's average."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 256, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.project(nn.functional.adaptive_avg_pool2d(pixels, 64))
        return found


def small_sam(seed: int = 0) -> nn.Module:
    """segment-anything's prompt encoder and mask decoder, its costly image encoder left out."""
    torch.manual_seed(seed)
    modeling: Any = sam_parts().modeling
    network = nn.Module()
    network.image_encoder = SmallEncoder()
    network.prompt_encoder = modeling.PromptEncoder(256, (64, 64), (1024, 1024), 16)
    transformer = modeling.TwoWayTransformer(depth=1, embedding_dim=256, mlp_dim=64, num_heads=8)
    network.mask_decoder = modeling.MaskDecoder(transformer_dim=256, transformer=transformer)
    return network


def quiet(text: str) -> None:
    """Tells nobody."""
    del text


def crop_tuner() -> CropTuner:
    """Of a sam-tiny with random weights."""
    torch.manual_seed(0)
    return CropTuner(TinySegmenter(TinySam(SMALL)))


def slice_tuner() -> SliceTuner:
    """Of a SAM with random weights."""
    return SliceTuner(SamSlices(small_sam(), SEGMENTERS["sam_vit_b"], torch.device("cpu")))
