"""Segment with models that encode whole slices: each distinct view of a slice is encoded once for all structures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.errors import GeometryError, UsageError
from medlsam.runtime.device import autocast_dtype
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SegmenterSpec
from medlsam.segment.sam.embedding_cache import EmbeddingCache, embedding_key
from medlsam.volume import Image

# A mask may exceed its box by this share of the box and so many pixels; farther away it is cut off.
_MARGIN, _MARGIN_PIXELS = 0.1, 2
View = tuple[int, int, int, int]
WindowHu = tuple[float, float]


class SliceModel(Protocol):
    """A model of whole slices, with a costly call (``encode``) and a cheap one (``decode``)."""

    @property
    def spec(self) -> SegmenterSpec:
        """The model's registry entry."""

    @property
    def device(self) -> torch.device:
        """Device that embeddings have to be on."""

    @property
    def precision(self) -> str:
        """Precision of the encoder: ``auto``, ``float32`` or ``bfloat16``."""

    def encode(self, slice_hu: NDArray[np.generic], window_hu: tuple[float, float] | None = None) -> Tensor:
        """Encode a slice (H, W) in HU, in a window (low, high) or in the model's own."""

    def decode(
        self,
        embedding: Tensor,
        boxes: ArrayLike,
        shape_hw: tuple[int, int],
        points: ArrayLike | None = None,
        mask_prompts: Tensor | None = None,
    ) -> Tensor:
        """Decode boxes, (N, 4), to logits, (N, H, W) on the CPU; see ``SamSlices.decode``."""


class WholeSliceSegmenter:
    """A ``Segmenter`` that encodes each slice with a prompt once, for all structures in it.

    Attributes:
        model: encodes and decodes slices.
        signature: sha256 of the weights file.
        cache: embeddings of slices, kept in memory by default.
    """

    def __init__(self, model: SliceModel, signature: str = "", cache: EmbeddingCache | None = None) -> None:
        self.model = model
        self.signature = signature
        self.cache = cache or EmbeddingCache()

    @property
    def spec(self) -> SegmenterSpec:
        """The model's registry entry."""
        return self.model.spec

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures slice by slice; see ``Segmenter.segment``.

        The view of a prompt, where it has one, is encoded by itself, in place of the whole slice; so is a slice in each
        window that its prompts ask for.

        Raises:
            GeometryError: a prompt on a slice that the scan does not have.
        """
        stopwatch = stopwatch or Stopwatch()
        depth, height, width = volume.array.shape
        blocks = {
            name: _empty_block(name, own, (depth, height, width)) for name, own in prompts.items() if own
        }
        by_view: dict[tuple[int, View, WindowHu | tuple[()]], list[tuple[str, SlicePrompt]]] = defaultdict(
            list
        )
        for name, own in prompts.items():
            for prompt in own:
                view = prompt.view_xyxy or (0, 0, width, height)
                by_view[prompt.z, view, prompt.window_hu or ()].append((name, prompt))
        for (z, view, window), here in sorted(by_view.items(), key=lambda item: item[0]):
            x0, y0, x1, y1 = view
            with stopwatch("encode"):
                embedding = self._embedding(volume.array[z, y0:y1, x0:x1], window or None)
            with stopwatch("decode"):
                boxes = np.array([p.box_xyxy for _, p in here]) - (x0, y0, x0, y0)
                logits = self.model.decode(
                    embedding,
                    boxes,
                    (y1 - y0, x1 - x0),
                    _points([p for _, p in here], view),
                    _masks([(mask_prompts or {}).get(name) for name, _ in here], z, view),
                )
                for (name, _), mask in zip(here, logits, strict=True):
                    _put(blocks[name], z, view, mask)
        return blocks

    def _embedding(self, pixels: NDArray[np.generic], window: WindowHu | None) -> Tensor:
        # Embeddings of different precisions must not be mistaken for each other.
        dtype = autocast_dtype(self.model.device, self.model.precision)
        signature = self.signature if dtype is None else f"{self.signature}/{dtype}"
        spec = self.spec if window is None else self.spec.in_window(window)
        key = embedding_key(pixels, signature, spec)
        return self.cache.get(key, lambda: self.model.encode(pixels, window)).to(self.model.device)


def keep_embeddings(segmenter: Segmenter, cache: EmbeddingCache | None) -> Segmenter:
    """Give a whole-slice segmenter a cache; others cannot use one, since their crops depend on the templates.

    Args:
        segmenter: changed in place where it is a ``WholeSliceSegmenter``.
        cache: None keeps the segmenter's own.

    Raises:
        UsageError: a cache folder for a model that came from no weights file: its embeddings could not be told
            from those of another model.
    """
    if cache is not None and isinstance(segmenter, WholeSliceSegmenter):
        if cache.folder is not None and not segmenter.signature:
            raise UsageError(
                f"{cache.folder}: {segmenter.spec.name} came from no weights file, so its embeddings cannot "
                "be told from those of another model; leave the cache folder out"
            )
        segmenter.cache = cache
    return segmenter


def _points(prompts: Sequence[SlicePrompt], view: View) -> NDArray[np.float64] | None:
    """Collect points, (N, K, 3) x, y in the view and 1 or 0: NaN for no point; None where all are without."""
    count = max(len(prompt.points) for prompt in prompts)
    if not count:
        return None
    found = np.full((len(prompts), count, 3), np.nan)
    for row, prompt in zip(found, prompts, strict=True):
        for place, point in zip(row, prompt.points, strict=False):
            place[:] = np.subtract(point, (*view[:2], 0))
    return found


def _masks(mask_prompts: Sequence[MaskBlock | None], z: int, view: View) -> Tensor | None:
    """Cut mask prompts to the view, (N, H, W): NaN for a structure without; None where all are without."""
    planes = [None if block is None else block.window(z, view) for block in mask_prompts]
    if all(plane is None for plane in planes):
        return None
    nothing = np.full((view[3] - view[1], view[2] - view[0]), np.nan, np.float32)
    return torch.from_numpy(np.stack([nothing if plane is None else plane for plane in planes]))


def _empty_block(name: str, prompts: Sequence[SlicePrompt], shape: tuple[int, int, int]) -> MaskBlock:
    """Make a block of zeros around all boxes of a structure, with a margin in the slice."""
    slices = [prompt.z for prompt in prompts]
    if min(slices) < 0 or max(slices) >= shape[0]:
        raise GeometryError(
            f"{name}: prompts on slices {min(slices)} to {max(slices)}; the scan has 0 to {shape[0] - 1}"
        )
    boxes = np.array([prompt.box_xyxy for prompt in prompts])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    margin = (high - low) * _MARGIN + _MARGIN_PIXELS
    size = np.array([shape[2], shape[1]])
    first = np.clip(np.floor(low - margin), 0, size - 1).astype(int)
    last = np.clip(np.ceil(high + margin), first, size - 1).astype(int)
    extent = (max(slices) - min(slices) + 1, int(last[1] - first[1] + 1), int(last[0] - first[0] + 1))
    return MaskBlock((min(slices), int(first[1]), int(first[0])), np.zeros(extent, dtype=np.float32))


def _put(block: MaskBlock, z: int, view: View, logits: Tensor) -> None:
    """Write one view's logits (H, W) into a block as probabilities; where two prompts meet, the larger counts."""
    (first, top, left), (_, bottom, right) = block.origin_zyx, block.end_zyx
    x0, y0, x1, y1 = max(left, view[0]), max(top, view[1]), min(right, view[2]), min(bottom, view[3])
    if x0 >= x1 or y0 >= y1:
        return
    found = torch.sigmoid(logits[y0 - view[1] : y1 - view[1], x0 - view[0] : x1 - view[0]]).numpy()
    target = block.probability[z - first, y0 - top : y1 - top, x0 - left : x1 - left]
    np.maximum(target, found, out=target)
