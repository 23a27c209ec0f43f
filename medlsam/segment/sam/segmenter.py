"""Models that see whole slices: each distinct view of a slice is encoded once, however many structures cross it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.errors import GeometryError, UsageError
from medlsam.runtime.device import autocast_dtype
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SegmenterSpec
from medlsam.segment.sam.embedding_cache import EmbeddingCache, embedding_key
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.segment.load import Segmenter

# A mask may leave its box a little; what it claims farther away is not believed.
_MARGIN, _MARGIN_PIXELS = 0.1, 2
View = tuple[int, int, int, int]


class SliceModel(Protocol):
    """A model that looks at whole slices, in two calls: the costly one and the cheap one."""

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""

    @property
    def device(self) -> torch.device:
        """Where embeddings have to be."""

    @property
    def precision(self) -> str:
        """Of the encoder: ``auto``, ``float32`` or ``bfloat16``."""

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """(H, W) HU to an embedding."""

    def decode(
        self,
        embedding: Tensor,
        boxes: ArrayLike,
        shape_hw: tuple[int, int],
        points: ArrayLike | None = None,
        hints: Tensor | None = None,
    ) -> Tensor:
        """Embedding and (N, 4) boxes to (N, H, W) logits on the CPU.

        Args:
            embedding: of ``encode``.
            boxes: (N, 4) x0, y0, x1, y1 in continuous pixel indices.
            shape_hw: of the slice.
            points: (N, 2) x, y, one place inside each structure; NaN for boxes that have none.
            hints: (N, H, W) rough probabilities, SAM's mask prompt; NaN for boxes that have none.
        """


class WholeSliceSegmenter:
    """Encodes each slice that has a prompt once, whatever the number of structures in it.

    Attributes:
        model: encodes and decodes slices.
        signature: sha256 of the weights file.
        cache: of embeddings; in memory unless told.
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
        priors: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures slice by slice.

        Args:
            volume: canonical scan, HU.
            prompts: structure to prompts; one without any is left out of the answer. A prompt with a view is
                asked of that part of its slice, which is encoded by itself.
            stopwatch: gets the seconds of ``encode`` and ``decode``.
            priors: structure to a rough mask, which goes in as SAM's mask prompt.

        Raises:
            GeometryError: a prompt on a slice that the scan does not have.
        """
        depth, height, width = volume.array.shape
        blocks = {
            name: _empty_block(name, own, (depth, height, width)) for name, own in prompts.items() if own
        }
        by_view: dict[tuple[int, View], list[tuple[str, SlicePrompt]]] = defaultdict(list)
        for name, own in prompts.items():
            for prompt in own:
                by_view[prompt.z, prompt.view_xyxy or (0, 0, width, height)].append((name, prompt))
        for (z, view), here in sorted(by_view.items(), key=lambda item: item[0]):
            x0, y0, x1, y1 = view
            with _watched(stopwatch, "encode"):
                embedding = self._embedding(volume.array[z, y0:y1, x0:x1])
            with _watched(stopwatch, "decode"):
                boxes = np.array([p.box_xyxy for _, p in here]) - (x0, y0, x0, y0)
                logits = self.model.decode(
                    embedding,
                    boxes,
                    (y1 - y0, x1 - x0),
                    _points([p for _, p in here], view),
                    _hints([(priors or {}).get(name) for name, _ in here], z, view),
                )
                for (name, _), mask in zip(here, logits, strict=True):
                    _put(blocks[name], z, view, mask)
        return blocks

    def _embedding(self, pixels: NDArray[np.generic]) -> Tensor:
        # What one precision encoded must not be taken for another's.
        dtype = autocast_dtype(self.model.device, self.model.precision)
        signature = self.signature if dtype is None else f"{self.signature}/{dtype}"
        key = embedding_key(pixels, signature, self.spec)
        return self.cache.get(key, lambda: self.model.encode(pixels)).to(self.model.device)


def keep_embeddings(segmenter: Segmenter, cache: EmbeddingCache | None) -> Segmenter:
    """Give a segmenter a cache, where it can use one: crops around boxes are not the same for other templates.

    Args:
        segmenter: any; one that sees whole slices is changed.
        cache: None leaves the segmenter its own.

    Raises:
        UsageError: a folder for a model that came from no weights file, whose embeddings nothing would tell
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
    """(N, 2) x, y in the view, NaN where a prompt has none; None where none has."""
    if all(prompt.point_xy is None for prompt in prompts):
        return None
    nowhere = (np.nan, np.nan)
    places = np.asarray([prompt.point_xy or nowhere for prompt in prompts], dtype=float)
    return np.asarray(places - np.asarray(view[:2]))


def _hints(priors: Sequence[MaskBlock | None], z: int, view: View) -> Tensor | None:
    """(N, H, W) of the view, NaN where a structure has no prior in this slice; None where none has."""
    if all(prior is None for prior in priors):
        return None
    x0, y0, x1, y1 = view
    planes = torch.full((len(priors), y1 - y0, x1 - x0), torch.nan)
    for plane, prior in zip(planes, priors, strict=True):
        if prior is None or not prior.origin_zyx[0] <= z < prior.end_zyx[0]:
            continue
        plane.zero_()
        (_, top, left), (_, bottom, right) = prior.origin_zyx, prior.end_zyx
        rows, columns = (max(top, y0), min(bottom, y1)), (max(left, x0), min(right, x1))
        if rows[0] < rows[1] and columns[0] < columns[1]:
            part = prior.probability[
                z - prior.origin_zyx[0], rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left
            ]
            plane[rows[0] - y0 : rows[1] - y0, columns[0] - x0 : columns[1] - x0] = torch.from_numpy(part)
    return None if bool(planes.isnan().all()) else planes


def _empty_block(name: str, prompts: Sequence[SlicePrompt], shape: tuple[int, int, int]) -> MaskBlock:
    """Zeros around all boxes of a structure, with a margin in the slice."""
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
    """Write one view's logits (H, W) into a block as probabilities; two prompts on a slice add up."""
    (first, top, left), (_, bottom, right) = block.origin_zyx, block.end_zyx
    x0, y0, x1, y1 = max(left, view[0]), max(top, view[1]), min(right, view[2]), min(bottom, view[3])
    if x0 >= x1 or y0 >= y1:
        return
    found = torch.sigmoid(logits[y0 - view[1] : y1 - view[1], x0 - view[0] : x1 - view[0]]).numpy()
    target = block.probability[z - first, y0 - top : y1 - top, x0 - left : x1 - left]
    np.maximum(target, found, out=target)


def _watched(stopwatch: Stopwatch | None, stage: str) -> AbstractContextManager[Any]:
    return nullcontext() if stopwatch is None else stopwatch(stage)
