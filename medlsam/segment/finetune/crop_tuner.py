"""Fine-tuning of ``sam-tiny``, whose embedding is that of a crop around one box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medlsam.segment.finetune.components import Component
from medlsam.segment.finetune.labelled import LabelledScan
from medlsam.segment.finetune.protocol import (
    Drawn,
    Embedded,
    Stored,
    jittered,
)
from medlsam.segment.registry import SegmenterSpec
from medlsam.segment.sam_tiny.crops import (
    channels,
    frame_around,
    neighbour_step,
    planes_at,
    sample,
)
from medlsam.segment.sam_tiny.segmenter import BATCH, TinySegmenter
from medlsam.volume.hounsfield import LOWEST_HU
from medlsam.weights.store import save_weights

#: An embedding has tensors at strides 8, 4, 2 and 1.
_LEVELS = 4


class CropTuner:
    """``sam-tiny``: a crop depends on its box, so several jittered crops of each component are embedded."""

    def __init__(self, segmenter: TinySegmenter) -> None:
        self.segmenter = segmenter

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""
        return self.segmenter.spec

    def embed(
        self,
        scan: LabelledScan,
        parts: Sequence[Component],
        views: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> Embedded:
        """Embed crops: rows ``part * views + view`` of embeddings, boxes and targets in crop pixels."""
        config, spacing = self.segmenter.config, scan.image.grid.spacing_xyz
        shape_hw = scan.image.array.shape[1:]
        step = neighbour_step(spacing[2], config.neighbour_mm)
        crops, boxes, errors, targets = [], [], [], []
        # standard deviation of sides that move by up to ``jitter`` pixels
        moved_mm = jitter * float(np.mean(spacing[:2])) / math.sqrt(3)
        for part in parts:
            # the mask rides along as a fourth plane, counted from the planes' fill
            mask = np.where(part.mask(shape_hw), LOWEST_HU + 1, LOWEST_HU)
            planes = [*planes_at(scan.image.array, part.z, step), mask]
            for view in range(views):
                box = part.box_xyxy if view == 0 else jittered(part.box_xyxy, shape_hw, jitter, rng)
                frame = frame_around(box, spacing[:2], config.zoom, config.min_side_mm)
                cut = sample(planes, frame, config.size)
                crops.append(channels(cut[:3], config.windows))
                boxes.append(torch.from_numpy(frame.box(box, config.size)).float())
                errors.append(torch.tensor(moved_mm * (view > 0) / frame.side_mm * config.size))
                targets.append(cut[3] - LOWEST_HU)
        rows = []
        with torch.inference_mode():
            for start in range(0, len(crops), BATCH):
                part_of = slice(start, start + BATCH)
                cut, prompts, off = (
                    torch.stack(all_[part_of]).to(self.segmenter.device) for all_ in (crops, boxes, errors)
                )
                rows.append([level.float().cpu() for level in self.segmenter.net.encode(cut, prompts, off)])
        levels = {
            f"embedding.{k}": torch.cat(level).half() for k, level in enumerate(zip(*rows, strict=True))
        }
        target = (torch.stack(targets) * 255).round().to(torch.uint8)
        return {**levels, "box": torch.stack(boxes), "target": target, "views": torch.tensor([views])}

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """Draw one of the component's crops, with the box that it was cut around."""
        views = int(stored.row("views", 0))
        row = part * views + (0 if rng is None else int(rng.integers(views)))
        levels = {f"embedding.{k}": stored.row(f"embedding.{k}", row).float() for k in range(_LEVELS)}
        return {**levels, "box": stored.row("box", row), "target": stored.row("target", row).float() / 255}

    def trainable(self) -> nn.Module:
        """Copy the network; its encoder is not used."""
        net = deepcopy(self.segmenter.net)
        net.decoder.requires_grad_(True)
        return net

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """Decode one box in each crop."""
        levels = tuple(batch[f"embedding.{k}"] for k in range(_LEVELS))
        logits, quality = module.decode(levels, batch["box"])  # type: ignore[operator]
        return logits, quality

    def save(self, module: nn.Module, path: Path) -> None:
        """Write a weights file in full precision: the steps of fine-tuning are finer than float16."""
        save_weights(path, module.state_dict(), asdict(self.segmenter.config), kind="segmenter")

    def check_name(self, path: Path) -> None:
        """Accept any name: the file itself says which model it is."""
