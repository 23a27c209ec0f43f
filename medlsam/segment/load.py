"""Load a segmenter by name, or from a file by recognising its content."""

from __future__ import annotations

from pathlib import Path

import torch

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import sha256_of
from medlsam.runtime.device import resolve_device
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.segment.sam.checkpoint import read_checkpoint, recognise, tuned_spec
from medlsam.segment.sam.model import load_sam
from medlsam.segment.sam.segmenter import WholeSliceSegmenter
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.weights.entries import ENTRIES
from medlsam.weights.fetch import resolve
from medlsam.weights.store import is_ours


def load_segmenter(
    name_or_path: str | Path = "sam-tiny",
    device: str | torch.device = "auto",
    model: str | None = None,
    precision: str = "auto",
) -> Segmenter:
    """Load a segmenter.

    Args:
        name_or_path: a registered name, downloaded where needed, or a file: one written by medlsam, or a
            checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        model: registered name of the model that a file holds, where neither its keys nor its name tell.
        precision: ``auto`` (bfloat16 where the machine computes it fast, else float32), ``float32`` or ``bfloat16``.

    Raises:
        WeightsError: an unknown name; a file that is absent, damaged, of another kind, or that may be of either of
            two models with the same network.
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
        return TinySegmenter.load(path, where, precision)
    checkpoint = read_checkpoint(path)
    digest = sha256_of(path)
    if spec is None:
        spec = _spec_of(path, digest, recognise(checkpoint, path))
    spec = tuned_spec(path, spec)
    return WholeSliceSegmenter(load_sam(path, spec, where, checkpoint, precision), digest)


def _spec_of(path: Path, digest: str, architecture: str) -> SegmenterSpec:
    """Find the entry of a file given by path; a wrong one would mean wrong preprocessing."""
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
