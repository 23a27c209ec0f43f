"""The interface between fine-tuning and a segmenter: frozen embeddings, a decoder to train, a file to write.

Image encoder and prompt encoder stay as they are (HCUCH paper, Technical validation: "Only the MedSAM decoder was
fine-tuned"; MedSAM's own training freezes the prompt encoder too).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from medlsam.segment.finetune.components import Component
from medlsam.segment.finetune.labelled import LabelledScan
from medlsam.segment.registry import SegmenterSpec

Embedded = dict[str, Tensor]
Drawn = dict[str, Tensor]


class Tuner(Protocol):
    """Fine-tuning's access to one kind of segmenter."""

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""

    def embed(
        self,
        scan: LabelledScan,
        parts: Sequence[Component],
        views: int,
        jitter: float,
        rng: np.random.Generator,
    ) -> Embedded:
        """Compute once everything that training needs of a scan.

        Args:
            scan: canonical.
            parts: its 2D components, N of them.
            views: crops of each component for segmenters that look at crops, the first with the exact box.
            jitter: see ``jittered``.
            rng: of the jitter.

        Returns:
            Tensors on the CPU, embeddings as float16, masks as uint8 (255 where a pixel is covered).
        """

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """Draw a training sample: embedding, box and target of a component; the exact box if ``rng`` is None."""

    def trainable(self) -> nn.Module:
        """Copy the prompt encoder and the decoder, of which only the decoder learns."""

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """Decode a batch of ``draw`` with a module of ``trainable``: logits (B, h, w), expected IoU (B,)."""

    def save(self, module: nn.Module, path: Path) -> None:
        """Write the whole segmenter with the decoder of ``module``, as ``load_segmenter`` reads it."""

    def check_name(self, path: Path) -> None:
        """Refuse a file name from which ``load_segmenter`` cannot tell the model.

        Raises:
            UsageError: with a name from which it can.
        """


class Stored(Protocol):
    """A scan's ``Embedded``, read row by row."""

    def row(self, name: str, index: int) -> Tensor:
        """Read one row of a tensor along its first axis."""


def jittered(
    box_xyxy: Sequence[float], shape_hw: tuple[int, int], jitter: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Move a box's corners by up to ``jitter`` pixels (paper: 0 to 5), within the slice.

    No side moves by more than a quarter of the box's edge: a box of a few pixels would come to hold something else.
    """
    box = np.asarray(box_xyxy, dtype=float)
    most = np.minimum(jitter, np.tile(box[2:] - box[:2], 2) / 4)
    low, high = np.full(4, -0.5), np.tile([shape_hw[1] - 0.5, shape_hw[0] - 0.5], 2)
    x0, y0, x1, y1 = np.clip(box + rng.uniform(-most, most), low, high).tolist()
    return (x0, y0, x1, y1)
