"""What every segmenter can do, and how one is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch

from medlsam.errors import WeightsError
from medlsam.runtime.device import resolve_device
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.volume import Image
from medlsam.weights.registry import ENTRIES, resolve, sha256_of
from medlsam.weights.store import is_ours


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
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        priors: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures, each in the slices that it has prompts in.

        Args:
            volume: canonical scan, HU.
            prompts: structure to prompts; one without any is left out of the answer.
            stopwatch: gets the seconds of ``encode`` and ``decode``.
            priors: structure to a rough mask of it, SAM's mask prompt; a structure or slice without one is
                segmented from its box alone.
        """


def load_segmenter(
    name_or_path: str | Path = "sam-tiny",
    device: str | torch.device = "auto",
    model: str | None = None,
    precision: str = "auto",
) -> Segmenter:
    """Load a segmenter.

    Args:
        name_or_path: a registered name, downloaded where needed, or a file: one that medlsam wrote, or a
            checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        model: which registered segmenter a file is of, where neither keys nor file name tell.
        precision: ``auto`` (bfloat16 where the machine is fast at it, else float32), ``float32`` or ``bfloat16``.

    Raises:
        WeightsError: an unknown name; a file that is absent, damaged, of another kind, or that does not
            tell which of two models with the same network it is.
        UsageError: a device that this machine does not have, or an unknown precision.
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
        from medlsam.segment.sam_tiny.segmenter import TinySegmenter

        tiny: Segmenter = TinySegmenter.load(path, where, precision)
        return tiny

    from medlsam.segment.sam.checkpoint import read_checkpoint, recognise
    from medlsam.segment.sam.model import load_sam

    checkpoint = read_checkpoint(path)
    digest = sha256_of(path)
    if spec is None:
        spec = _spec_of(path, digest, recognise(checkpoint, path))
    return WholeSliceSegmenter(load_sam(path, spec, where, checkpoint, precision), digest)


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
