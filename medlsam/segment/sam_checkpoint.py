"""Reading checkpoints of the SAM family: only tensors are unpickled, and what does not fit is named.

SAM and MedSAM have the same keys and shapes: a file says which image encoder it is for, not which
preprocessing. That comes from its name, or from its sha256 where one is known.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.segment.registry import Architecture
from medlsam.weights.store import describe_file

_WRAPPERS = ("model", "state_dict")
# (embedding width, blocks) of segment-anything's image encoders
_ENCODERS: Mapping[tuple[int, int], Architecture] = {
    (768, 12): "vit_b",
    (1024, 24): "vit_l",
    (1280, 32): "vit_h",
}
_POSITIONS = "image_encoder.pos_embed"
_WANTED = "wanted: a checkpoint of SAM ViT-B, ViT-L or ViT-H, or of MedSAM ViT-B"

# What other models' keys begin with, the more particular first.
_OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("conv0_1.", "conv8_2.", "fc1."),
        "weights or a training checkpoint of MedLAM, the published localizer; it segments nothing",
    ),
    (
        ("image_encoder.trunk.", "memory_attention.", "sam_mask_decoder.", "sam_prompt_encoder."),
        "a SAM 2 or MedSAM2 checkpoint; its network is another one",
    ),
    (
        ("vision_encoder.", "shared_image_embedding."),
        "a SAM checkpoint in the names of Hugging Face transformers; take the original .pth file",
    ),
    (
        ("image_encoder.patch_embed.seq.", "image_encoder.layers."),
        "a MobileSAM or LiteMedSAM checkpoint (image encoder TinyViT), which this version cannot run",
    ),
    (
        ("image_encoder.features.", "image_encoder.stage", "image_encoder.backbone."),
        "a checkpoint with another image encoder (EdgeSAM, MedficientSAM or alike), which cannot be run",
    ),
    (
        ("prompt_encoder.bbox_top_left_embeddings.", "prompt_encoder.point_embeddings.bbox"),
        "an EfficientSAM checkpoint, which cannot be run",
    ),
    (
        ("encoder.", "network.", "model.", "decoder."),
        "weights of another network, perhaps a training checkpoint of medlsam (give the .safetensors file "
        "that was made from it)",
    ),
)


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, floating ones as float32.

    Training checkpoints (a dictionary with ``model`` or ``state_dict`` beside the optimizer's state) are
    unwrapped, the prefix ``module.`` of parallel training is taken off.

    Args:
        path: ``.pth``, ``.pt`` (zip or old pickle format) or ``.safetensors``.

    Raises:
        WeightsError: no such file, damaged, or something else than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such file")
    content: object = _read(path)
    wrapped = ""
    while isinstance(content, dict) and not _is_state(content):
        inner = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content, wrapped = content[inner], inner
    if not isinstance(content, dict) or not _is_state(content):
        found = f"keys {_few(map(str, content))}" if isinstance(content, dict) else type(content).__name__
        where = f" under {wrapped!r}" if wrapped else ""
        raise WeightsError(f"{path} holds no state dict{where}: found {found}; {_WANTED}")
    state = cast(dict[str, Tensor], content)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def recognise(state: Mapping[str, Tensor], path: str | Path) -> Architecture:
    """Which of segment-anything's networks a state dict is for.

    Args:
        state: as ``read_state_dict`` gives it.
        path: where it came from, for the message.

    Raises:
        WeightsError: another model's weights, or a kind that is not known; the message says what was found.
    """
    positions = state.get(_POSITIONS)
    if positions is not None and positions.ndim == 4 and "prompt_encoder.no_mask_embed.weight" in state:
        blocks = {key.split(".")[2] for key in state if key.startswith("image_encoder.blocks.")}
        found = _ENCODERS.get((positions.shape[-1], len(blocks)))
        if found is not None and tuple(positions.shape[1:3]) == (64, 64):
            return found
        raise WeightsError(
            f"{path} holds a SAM-like model with {len(blocks)} blocks of width {positions.shape[-1]} on a "
            f"{positions.shape[1]}x{positions.shape[2]} grid; {_WANTED}, on a 64x64 grid"
        )
    for prefixes, what in _OTHERS:
        if any(key.startswith(prefixes) for key in state):
            raise WeightsError(f"{path} holds {what}; {_WANTED}")
    raise WeightsError(f"{path} holds weights of an unknown kind (keys {_few(state)}); {_WANTED}")


def check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare keys and shapes with those of the network.

    Args:
        state: what the file holds.
        wanted: the network's state dict; only keys and shapes are read.
        path: where ``state`` came from, for the message.

    Raises:
        WeightsError: keys that are missing or left over, or shapes that differ.
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
    told = [f"{len(keys)} {what} ({_few(keys)})" for what, keys in problems.items() if keys]
    if told:
        raise WeightsError(f"{path} does not fit segment-anything's network: {'; '.join(told)}")


def _read(path: Path) -> Any:
    with path.open("rb") as stream:
        start = stream.read(9)
    try:
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if start[:2] in (b"PK", b"\x80\x02"):
            raise WeightsError(
                f"{path} holds Python objects other than tensors and is not opened, since opening could run "
                f"code; save its state dict alone, where you trust it ({str(error).splitlines()[0]})"
            ) from error
        raise WeightsError(f"{path} is {describe_file(path)}, no checkpoint; {_WANTED}") from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is {describe_file(path)}, and cannot be read (damaged or truncated?): {error}"
        ) from error


def _is_state(content: Mapping[Any, Any]) -> bool:
    """Whether every entry is a tensor under a name."""
    return bool(content) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _few(keys: Any, limit: int = 3) -> str:
    names = list(keys)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "") if names else "none"
