"""This project's own weights files: safetensors with the network's configuration inside.

The metadata key ``medlsam`` holds ``{"format": 1, "kind": ..., "config": {...}}`` as JSON, so a file records
its kind and how to build its network. Reading one executes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.runtime.atomic_files import atomic_path
from medlsam.weights.entries import Kind

FORMAT = 1
_KEY = "medlsam"


def save_weights(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    kind: Kind,
    *,
    half: bool = False,
) -> None:
    """Write tensors and the configuration of their network as one file, atomically.

    Args:
        path: the target, ``*.safetensors``.
        state_dict: as ``module.state_dict()`` gives it; moved to the CPU.
        config: settings that rebuild the network; JSON values only, without NaN.
        kind: ``localizer``, ``segmenter`` or ``lesion-network``.
        half: store float32 tensors of two or more axes as float16: half the size. Those of one axis
            (biases, normalisation, running statistics) need the range and cost nothing.

    Raises:
        WeightsError: ``config`` is not JSON, or a tensor holds NaN or infinity, or does not fit float16.
    """
    if kind not in get_args(Kind):
        raise WeightsError(f"{path}: kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    try:
        header = json.dumps({"format": FORMAT, "kind": kind, "config": dict(config)}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the configuration cannot be written as JSON: {error}") from error
    tensors = {name: _prepared(path, name, tensor, half) for name, tensor in state_dict.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata={_KEY: header}))


def load_weights(path: str | Path, kind: Kind) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that ``save_weights`` wrote.

    Args:
        path: the file.
        kind: the kind of weights wanted.

    Returns:
        The state dict on the CPU, floating tensors as float32; and the configuration.

    Raises:
        WeightsError: no such file, damaged, not written by medlsam (the message says what it looks
            like), or of the other kind.
    """
    found, config = read_header(path)
    if found != kind:
        raise WeightsError(f"{path} holds a {found}, a {kind} is wanted")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, config


def read_header(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Read the kind and the configuration of a file that ``save_weights`` wrote, without its tensors.

    Raises:
        WeightsError: see ``load_weights``; any kind is accepted.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is {describe_file(path)}, not weights that medlsam wrote (safetensors): {error}"
        ) from error
    if _KEY not in metadata:
        raise WeightsError(
            f"{path} is safetensors, but not written by medlsam: it does not say what it is (no {_KEY!r} "
            f"among its metadata, which are: {', '.join(metadata) or 'none'})"
        )
    try:
        header = json.loads(metadata[_KEY])
        if header["kind"] == "templates":
            raise WeightsError(f"{path} holds templates, no weights: give it as --support")
        version, kind, config = header["format"], header["kind"], header["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: its {_KEY!r} metadata cannot be understood: {error!r}") from error
    if version != FORMAT:
        raise WeightsError(f"{path} has format {version}, this medlsam reads format {FORMAT}: update medlsam")
    return str(kind), dict(config)


def is_ours(path: str | Path) -> bool:
    """Tell whether a file is safetensors with medlsam's metadata, of any kind."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def describe_file(path: str | Path) -> str:
    """Describe a file by its first bytes, for messages: "an empty file", "gzip-compressed, ..."."""
    with open(path, "rb") as stream:
        start = stream.read(512)
    if not start:
        return "an empty file"
    if start.startswith(b"PK\x03\x04"):
        return "a zip archive, perhaps a PyTorch or Lightning checkpoint"
    if start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "a Python pickle, perhaps an old PyTorch checkpoint"
    if start.startswith(b"\x1f\x8b"):
        return "gzip-compressed, perhaps a scan (NIfTI)"
    if start.lstrip()[:1] == b"<":
        return "an HTML or XML page, perhaps the error page of a download"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run `git lfs pull`)"
    if len(start) > 8 and start[8:9] == b"{":
        return "a damaged or truncated safetensors file"
    return "of an unknown format"


def _prepared(path: str | Path, name: str, tensor: Tensor, half: bool) -> Tensor:
    """Copy a tensor to the CPU, contiguous and in memory of its own, as safetensors requires."""
    # torch.tensor.clone() keeps strides; contiguous_format gives channels-last weights their plain order.
    copy = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    if not copy.is_floating_point():
        return copy
    if not math.isfinite(copy.abs().max().item() if copy.numel() else 0.0):
        raise WeightsError(f"{path}: tensor {name!r} holds NaN or infinity, so it is not written")
    if half and copy.dtype == torch.float32 and copy.ndim > 1:
        copy = copy.half()
        if not bool(torch.isfinite(copy).all()):
            raise WeightsError(f"{path}: tensor {name!r} does not fit float16, write it with half=False")
    return copy
