"""Read the checkpoints of others: unpickle tensors only, and name the tensors that do not fit a network."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.weights.store import describe_file

_WRAPPERS = ("model", "state_dict")
# Lightning writes its version under this name beside every state dict.
_LIGHTNING = "pytorch-lightning_version"
# Training loops keep their best loss beside the weights as a NumPy number. Rebuilding one runs no code from the
# file; the second name is NumPy's before 2.0.
_NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    np.dtype,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
]


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file of weights.

    Attributes:
        state: the tensors by name.
        beside: names of the other entries that a training script saved (``epoch``, ``optimizer``, ...); empty for
            a plain state dict.
    """

    state: dict[str, Tensor]
    beside: tuple[str, ...] = ()

    @property
    def form(self) -> str:
        """``weights``, ``training checkpoint`` or ``Lightning checkpoint``, for messages."""
        if _LIGHTNING in self.beside:
            return "Lightning checkpoint"
        return "training checkpoint" if self.beside else "weights file"


def read_state_dict(path: str | Path, wanted: str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; see ``read_checkpoint``."""
    return read_checkpoint(path, wanted).state


def read_checkpoint(path: str | Path, wanted: str) -> Checkpoint:
    """Read a checkpoint: its tensors on the CPU, floating ones as float32, and the names beside them.

    Training checkpoints (a dictionary with ``model`` or ``state_dict`` beside the optimizer's state) are
    unwrapped; the prefix ``module.`` of parallel training is removed.

    Args:
        path: ``.pth``, ``.pt``, ``.tar`` as training scripts call it (zip or old pickle format), or
            ``.safetensors``.
        wanted: expected content, for messages: ``wanted: a checkpoint of ...``.

    Raises:
        WeightsError: no such file, damaged, or without a state dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    content: object = _read(path, wanted)
    wrapped = ""
    beside: list[str] = []
    while isinstance(content, dict) and not _is_state(content):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        beside += [str(key) for key in content if key != inner]
        content, wrapped = content[inner], inner
    if not isinstance(content, dict) or not _is_state(content):
        found = f"keys {few(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        where = f" under {wrapped!r}" if wrapped else ""
        raise WeightsError(f"{path} holds no state dict{where}: found {found}; {wanted}")
    state = cast(dict[str, Tensor], content)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    return Checkpoint(tensors, tuple(beside))


def check_fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path, network: str
) -> None:
    """Check that keys and shapes are those of a network.

    Args:
        state: tensors of the file.
        wanted: the network's state dict; only keys and shapes are read.
        path: the file, for the message.
        network: name of the network, for the message.

    Raises:
        WeightsError: missing or unknown keys, or other shapes.
    """
    problems = {
        "missing": [key for key in wanted if key not in state],
        "not known": [key for key in state if key not in wanted],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    }
    differences = [f"{len(keys)} {what} ({few(keys)})" for what, keys in problems.items() if keys]
    if differences:
        raise WeightsError(f"{path} does not fit {network}: {'; '.join(differences)}")


def few(keys: Iterable[str], limit: int = 3) -> str:
    """Join the first keys, for a message."""
    names = list(keys)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "") if names else "none"


def _read(path: Path, wanted: str) -> Any:
    with path.open("rb") as stream:
        start = stream.read(9)
    try:
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return load_file(path)
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if start[:2] in (b"PK", b"\x80\x02"):
            lightning = "is a Lightning checkpoint and " if _mentions(path, _LIGHTNING) else ""
            raise WeightsError(
                f"{path} {lightning}holds Python objects other than tensors and is not opened, since opening could run "
                f"code; save its state dict alone, where you trust it ({str(error).splitlines()[0]})"
            ) from error
        raise WeightsError(f"{path} is {describe_file(path)}, no checkpoint; {wanted}") from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is {describe_file(path)}, and cannot be read (damaged or truncated?): {error}"
        ) from error


def _mentions(path: Path, word: str) -> bool:
    """Tell whether a pickled checkpoint holds a word, by searching the pickle without running it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return any(word.encode() in archive.read(name) for name in pickles)


def _is_state(content: Mapping[Any, Any]) -> bool:
    """Tell whether every entry is a named tensor."""
    return bool(content) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
