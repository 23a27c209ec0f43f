"""Reading checkpoints of the SAM family: only tensors are unpickled, and what does not fit is named.

SAM and MedSAM have the same keys and shapes: a file says which image encoder it is for, not which
preprocessing. That comes from its name, or from its sha256 where one is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.segment.registry import Architecture
from medlsam.weights.checkpoint import few
from medlsam.weights.checkpoint import read_state_dict as read_any_state_dict

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
    """The tensors of a checkpoint (see ``medlsam.weights.checkpoint.read_state_dict``).

    Raises:
        WeightsError: no such file, damaged, or something else than tensors.
    """
    return read_any_state_dict(path, _WANTED)


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
    raise WeightsError(f"{path} holds weights of an unknown kind (keys {few(state)}); {_WANTED}")
