"""Which tuner a loaded segmenter has, and in which window of HU it learns."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from medlsam.errors import UsageError
from medlsam.segment.finetune.crop_tuner import CropTuner
from medlsam.segment.finetune.protocol import Tuner
from medlsam.segment.finetune.slice_tuner import SliceTuner
from medlsam.segment.protocol import Segmenter
from medlsam.segment.sam.model import SamSlices
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.segment.sam_tiny.segmenter import TinySegmenter


def in_window(segmenter: Segmenter, window: str | tuple[float, float]) -> Segmenter:
    """Show a whole-slice segmenter every slice in one window of HU.

    Args:
        segmenter: loaded.
        window: lowest and highest HU; ``model`` leaves it as it is.

    Raises:
        UsageError: the segmenter has windows of its own.
    """
    if isinstance(window, str):
        return segmenter
    if not (isinstance(segmenter, WholeSliceSegmenter) and isinstance(segmenter.model, SamSlices)):
        raise UsageError(
            f"window: {segmenter.spec.name} sees HU in windows of its own; leave it out, it is for SAM and MedSAM"
        )
    model = copy(segmenter.model)
    model.spec = replace(model.spec.in_window(window), windows=())
    return WholeSliceSegmenter(model, segmenter.signature)


def tuner_of(segmenter: Segmenter) -> Tuner:
    """Find the tuner of a loaded segmenter.

    Raises:
        UsageError: this kind cannot be fine-tuned.
    """
    if isinstance(segmenter, TinySegmenter):
        return CropTuner(segmenter)
    if isinstance(segmenter, WholeSliceSegmenter) and isinstance(segmenter.model, SamSlices):
        return SliceTuner(segmenter.model)
    raise UsageError(f"{segmenter.spec.name}: fine-tuning knows sam-tiny and models of segment-anything only")
