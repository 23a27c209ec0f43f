"""What fine-tuning needs of a segmenter: frozen embeddings, a decoder to train, and a file to write.

Image encoder and prompt encoder stay as they are (HCUCH paper, Technical validation: "Only the MedSAM decoder was
fine-tuned"; MedSAM's own training freezes the prompt encoder too).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from medlsam.segment.finetune.components import Component, LabelledScan
from medlsam.segment.registry import SegmenterSpec

Embedded = dict[str, Tensor]
Drawn = dict[str, Tensor]


class Tuner(Protocol):
    """One kind of segmenter, as fine-tuning sees it."""

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
        """Everything that training needs of a scan, computed once.

        Args:
            scan: canonical.
            parts: its 2D components, N of them.
            views: crops of each component for kinds that look at crops, the first with the exact box.
            jitter: see ``jittered``.
            rng: of the jitter.

        Returns:
            Tensors on the CPU, embeddings as float16, masks as uint8 (255 where a pixel is covered).
        """

    def draw(self, stored: Stored, part: int, jitter: float, rng: np.random.Generator | None) -> Drawn:
        """One training sample: embedding, box and target of a component; with ``rng`` None the exact box."""

    def trainable(self) -> nn.Module:
        """A copy of the prompt encoder and the decoder, of which only the decoder learns."""

    def decode(self, module: nn.Module, batch: Drawn) -> tuple[Tensor, Tensor]:
        """(B, h, w) logits and (B,) expected IoU of a batch of ``draw``, with a module of ``trainable``."""

    def save(self, module: nn.Module, path: Path) -> None:
        """Write the whole segmenter with the decoder of ``module``, as ``load_segmenter`` reads it."""

    def check_name(self, path: Path) -> None:
        """Refuse a file name that ``load_segmenter`` could not tell the model from.

        Raises:
            UsageError: with a name that it could.
        """


class Stored(Protocol):
    """A scan's ``Embedded``, of which single rows can be read."""

    def row(self, name: str, index: int) -> Tensor:
        """One row of a tensor along its first axis."""


def jittered(
    box_xyxy: Sequence[float], shape_hw: tuple[int, int], jitter: float, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box whose corners are moved by up to ``jitter`` pixels (paper: 0 to 5), inside the slice.

    No side moves by more than a quarter of the box's edge: what is left of a box of some pixels would hold
    another thing.
    """
    box = np.asarray(box_xyxy, dtype=float)
    most = np.minimum(jitter, np.tile(box[2:] - box[:2], 2) / 4)
    low, high = np.full(4, -0.5), np.tile([shape_hw[1] - 0.5, shape_hw[0] - 0.5], 2)
    x0, y0, x1, y1 = np.clip(box + rng.uniform(-most, most), low, high).tolist()
    return (x0, y0, x1, y1)
