"""The large model whose masks are learned: a slice is encoded once for all boxes in it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.runtime.device import autocast_dtype
from medlsam.segment.load import load_segmenter
from medlsam.segment.registry import SEGMENTERS
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.segmenter import WholeSliceSegmenter

#: Least IoU that a teacher has to expect of its mask.
LEAST_IOU = 0.7
# MedSAM was fine-tuned on the masks alone, so what its IoU head says means nothing any more.
_UNTRAINED_IOU = ("medsam_vit_b",)


class Teacher(Protocol):
    """A model that segments boxes in slices, with a costly call (``encode``) and a cheap one (``decode``)."""

    @property
    def name(self) -> str:
        """What it is called in the record."""

    @property
    def signature(self) -> str:
        """What its masks depend on: weights, preprocessing and precision. Masks on disk are found by it."""

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """Encode a slice (H, W) in HU."""

    def decode(
        self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Segment boxes (N, 4) in continuous pixel indices: masks (N, H, W) and the IoU (N,) expected of them."""


class SliceTeacher:
    """SAM, MedSAM, or another whole-slice model of the registry."""

    def __init__(self, segmenter: WholeSliceSegmenter, model: SamSlices) -> None:
        self.model = model
        self.weights = segmenter.signature

    @property
    def name(self) -> str:
        """Its registry name."""
        return self.model.spec.name

    @property
    def signature(self) -> str:
        """The sha256 of its weights file, with preprocessing and precision."""
        dtype = autocast_dtype(self.model.device, self.model.precision)
        return f"{self.weights}/{self.model.spec!r}/{dtype}"

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """Encode a slice (H, W) in HU."""
        return self.model.encode(slice_hu)

    def decode(
        self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Segment boxes; see ``Teacher``."""
        logits, quality = self.model.decode_scored(embedding, boxes, shape_hw)
        return (logits > 0).numpy(), quality.numpy()


def load_teacher(name: str, weights: str | Path | None, device: torch.device) -> Teacher:
    """Load a teacher.

    Args:
        name: of a whole-slice model of the registry.
        weights: its file; None where it is in the cache of weights, or can be downloaded.
        device: to run on.

    Raises:
        UsageError: no such model, or one that does not encode whole slices.
        WeightsError: its weights are not there, damaged, or of another model.
    """
    spec = SEGMENTERS.get(name)
    whole = [own.name for own in SEGMENTERS.values() if own.kind == "sam"]
    if spec is None or spec.kind != "sam":
        why = "is unknown" if spec is None else "encodes crops, not whole slices, so it cannot be a teacher"
        raise UsageError(f"teacher: {name!r} {why}; give one of {', '.join(whole)}")
    loaded = load_segmenter(weights if weights is not None else name, device, model=name)
    if not isinstance(loaded, WholeSliceSegmenter) or not isinstance(loaded.model, SamSlices):
        raise UsageError(
            f"teacher: {weights} is no whole-slice model; give a checkpoint of {', '.join(whole)}"
        )
    return SliceTeacher(loaded, loaded.model)


def least_iou(teacher: Teacher, wanted: float) -> float:
    """Choose the least IoU that a mask's teacher has to expect: ``wanted``, or the teacher's default where it is -1."""
    if wanted >= 0:
        return wanted
    return 0.0 if teacher.name in _UNTRAINED_IOU else LEAST_IOU
