"""What every segmenter can do, how one is loaded, and the one that encodes whole slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.device import resolve_device
from medlsam.errors import GeometryError, WeightsError
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.volume_segmenter import MaskBlock
from medlsam.stopwatch import Stopwatch
from medlsam.volume import Volume
from medlsam.weights.registry import ENTRIES, resolve, sha256_of
from medlsam.weights.store import is_ours

# A mask may leave its box a little; what it claims farther away is not believed.
_MARGIN, _MARGIN_PIXELS = 0.1, 2


class Segmenter(Protocol):
    """Boxes in a scan to probabilities."""

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""

    @property
    def signature(self) -> str:
        """sha256 of its weights file."""

    def segment(
        self,
        volume: Volume,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures, each in the slices that it has prompts in.

        Args:
            volume: canonical scan, HU.
            prompts: structure to prompts; one without any is left out of the answer.
            stopwatch: gets the seconds of ``encode`` and ``decode``.
        """


class SliceModel(Protocol):
    """A model that looks at whole slices, in two calls: the costly one and the cheap one."""

    @property
    def spec(self) -> SegmenterSpec:
        """Its registry entry."""

    def encode(self, slice_hu: NDArray[np.generic]) -> Tensor:
        """(H, W) HU to an embedding."""

    def decode(self, embedding: Tensor, boxes: ArrayLike, shape_hw: tuple[int, int]) -> Tensor:
        """Embedding and (N, 4) boxes to (N, H, W) logits on the CPU."""


class WholeSliceSegmenter:
    """Encodes each slice that has a prompt once, whatever the number of structures in it.

    Attributes:
        model: encodes and decodes slices.
        signature: sha256 of the weights file.
    """

    def __init__(self, model: SliceModel, signature: str = "") -> None:
        self.model = model
        self.signature = signature

    @property
    def spec(self) -> SegmenterSpec:
        """The model's registry entry."""
        return self.model.spec

    def segment(
        self,
        volume: Volume,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures slice by slice; one embedding is held at a time.

        Args:
            volume: canonical scan, HU.
            prompts: structure to prompts; one without any is left out of the answer.
            stopwatch: gets the seconds of ``encode`` and ``decode``.

        Raises:
            GeometryError: a prompt on a slice that the scan does not have.
        """
        depth, height, width = volume.array.shape
        blocks = {
            name: _empty_block(name, own, (depth, height, width)) for name, own in prompts.items() if own
        }
        by_slice: dict[int, list[tuple[str, SlicePrompt]]] = defaultdict(list)
        for name, own in prompts.items():
            for prompt in own:
                by_slice[prompt.z].append((name, prompt))
        for z, here in sorted(by_slice.items()):
            with _watched(stopwatch, "encode"):
                embedding = self.model.encode(volume.array[z])
            with _watched(stopwatch, "decode"):
                boxes = [prompt.box_xyxy for _, prompt in here]
                logits = self.model.decode(embedding, boxes, (height, width))
                for (name, _), mask in zip(here, logits, strict=True):
                    _put(blocks[name], z, mask)
            del embedding  # before the next one is made
        return blocks


def load_segmenter(
    name_or_path: str | Path = "sam-tiny", device: str | torch.device = "auto", model: str | None = None
) -> Segmenter:
    """Load a segmenter.

    Args:
        name_or_path: a registered name, downloaded where needed, or a file: one that medlsam wrote, or a
            checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        model: which registered segmenter a file is of, where neither keys nor file name tell.

    Raises:
        WeightsError: an unknown name; a file that is absent, damaged, of another kind, or that does not
            tell which of two models with the same network it is.
        UsageError: a device that this machine does not have.
    """
    where = resolve_device(device)
    name = model or (str(name_or_path) if str(name_or_path) in SEGMENTERS else None)
    if name is not None and name not in SEGMENTERS:
        raise WeightsError(f"no segmenter is called {name!r}; there are: {', '.join(SEGMENTERS)}")
    path = resolve(name_or_path, "segmenter")
    spec = None if name is None else SEGMENTERS[name]
    ours = is_ours(path)
    if ours and spec and spec.kind == "sam":
        raise WeightsError(
            f"{path} was written by medlsam and is not {spec.name}; leave the model's name out"
        )
    if ours or (spec and spec.kind == "crop"):
        from medlsam.segment.tiny import TinySegmenter

        tiny: Segmenter = TinySegmenter.load(path, where)
        return tiny

    from medlsam.segment.sam import load_sam
    from medlsam.segment.sam_checkpoint import read_checkpoint, recognise

    checkpoint = read_checkpoint(path)
    digest = sha256_of(path)
    if spec is None:
        spec = _spec_of(path, digest, recognise(checkpoint, path))
    return WholeSliceSegmenter(load_sam(path, spec, where, checkpoint), digest)


def _spec_of(path: Path, digest: str, architecture: str) -> SegmenterSpec:
    """The entry of a file given by path; the wrong one would feed it with the wrong preprocessing."""
    fitting = [spec for spec in SEGMENTERS.values() if spec.architecture == architecture]
    if len(fitting) == 1:
        return fitting[0]
    for spec in fitting:
        if ENTRIES[spec.name].sha256 == digest:
            return spec
    stem = path.stem.lower().replace("-", "_")
    named = [s for s in fitting if s.name in stem] or [s for s in fitting if s.name.split("_")[0] in stem]
    if any(s.name.startswith("medsam") for s in named) or "medsam" in stem:
        named = [s for s in fitting if s.name.startswith("medsam")]
    if len(named) == 1:
        return named[0]
    names = " or ".join(spec.name for spec in fitting)
    raise WeightsError(
        f"{path} holds a SAM {architecture}, and nothing tells whether it is {names}, which have "
        f"the same network and other preprocessing; let the file's name begin with the right one "
        "(in Python: model=...)"
    )


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


def _put(block: MaskBlock, z: int, logits: Tensor) -> None:
    """Write one slice's logits (H, W) into a block as probabilities; two prompts on a slice add up."""
    start, end = block.origin_zyx, block.end_zyx
    found = torch.sigmoid(logits[start[1] : end[1], start[2] : end[2]]).numpy()
    target = block.probability[z - start[0]]
    np.maximum(target, found, out=target)


def _watched(stopwatch: Stopwatch | None, stage: str) -> AbstractContextManager[Any]:
    return nullcontext() if stopwatch is None else stopwatch(stage)
