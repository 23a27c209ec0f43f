"""Recognise checkpoints of the SAM family by keys and shapes, and name files of other kinds.

Keys and shapes determine the image encoder, not the preprocessing: SAM and MedSAM share them. The file's name decides
between the two, or its sha256 where one is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from medlsam.errors import WeightsError
from medlsam.segment.registry import Architecture, SegmenterSpec
from medlsam.weights.checkpoint import Checkpoint, few
from medlsam.weights.checkpoint import read_checkpoint as read_any_checkpoint
from medlsam.windows import Window

# (embedding width, blocks) of segment-anything's image encoders
_VITS: Mapping[tuple[int, int], Architecture] = {
    (768, 12): "vit_b",
    (1024, 24): "vit_l",
    (1280, 32): "vit_h",
}
# shape of the first convolution of TinyViT-5M: MobileSAM shrinks with it, LiteMedSAM uses single pixels
_TINY_VITS: Mapping[tuple[int, ...], Architecture] = {
    (32, 3, 3, 3): "tiny_vit_1024",
    (32, 3, 1, 1): "tiny_vit_256",
}
_POSITIONS = "image_encoder.pos_embed"
_STEM = "image_encoder.patch_embed.seq.0.c.weight"
_DECODING = ("prompt_encoder.no_mask_embed.weight", "mask_decoder.iou_token.weight")
# MobileSAM's file still contains the classifier of TinyViT's pretraining, which nothing uses.
_CLASSIFIER = ("image_encoder.norm_head.", "image_encoder.head.")
_WANTED = "wanted: a checkpoint of SAM (ViT-B, ViT-L, ViT-H), MedSAM, MobileSAM or LiteMedSAM"

#: What a fine-tuned file says of itself, beside the one window that its decoder knows.
TUNED: Mapping[str, str] = {"finetuned_by": "medlsam"}
_WINDOW = "window_hu"


@dataclass(frozen=True)
class _Other:
    """A kind of file outside of the SAM family.

    Attributes:
        prefixes: prefixes of some of its keys.
        name: description, to follow "this is"; ``{form}`` is the checkpoint's form.
        advice: advice for the user.
    """

    prefixes: tuple[str, ...]
    name: str
    advice: str


# More specific kinds first.
_OTHERS = (
    _Other(
        ("conv0_1.", "conv8_2.", "fc1."),
        "a MedLAM {form} (the published localizer)",
        "it locates and does not segment: give it as --localizer published --weights FILE",
    ),
    _Other(
        ("ema.module.encoder.", "net.encoder.to_half."),
        "a {form} of sam-tiny's training",
        "write its weights file: python -m medlsam.segment.sam_tiny.train export CHECKPOINT FILE.safetensors",
    ),
    _Other(
        ("image_encoder.trunk.", "memory_attention.", "sam_mask_decoder.", "sam_prompt_encoder."),
        "a SAM 2 or MedSAM2 {form}",
        "its network is another one, which cannot be run",
    ),
    _Other(
        ("vision_encoder.", "shared_image_embedding."),
        "a SAM {form} in the names of Hugging Face transformers",
        "take the original .pth file",
    ),
    _Other(
        ("mask_decoder.hf_token.", "mask_decoder.hf_mlp."),
        "a HQ-SAM {form}",
        "its mask decoder is another one, which cannot be run",
    ),
    _Other(
        ("image_encoder.features.", "image_encoder.stage", "image_encoder.backbone."),
        "a {form} with another image encoder (EdgeSAM, MedficientSAM or alike)",
        "it cannot be run",
    ),
    _Other(
        ("prompt_encoder.bbox_top_left_embeddings.", "prompt_encoder.point_embeddings.bbox"),
        "an EfficientSAM {form}",
        "its decoder has other names and parts, and cannot be run",
    ),
)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; see ``medlsam.weights.checkpoint.read_checkpoint``.

    Raises:
        WeightsError: no such file, damaged, or without a state dict of tensors.
    """
    return read_any_checkpoint(path, _WANTED)


def tuned_metadata(window: Window) -> dict[str, str]:
    """Say of a file that it was fine-tuned, and in which window."""
    return {**TUNED, _WINDOW: f"{window.low!r},{window.high!r}"}


def tuned_spec(path: str | Path, spec: SegmenterSpec) -> SegmenterSpec:
    """Restrict a registry entry to the window that a file of ``medlsam finetune`` was trained in.

    Args:
        path: any file.
        spec: its registry entry.

    Returns:
        The same entry for other files. Fine-tuned files that name no window know the entry's own.
    """
    try:
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
    except (SafetensorError, OSError):
        return spec
    if not said.items() >= TUNED.items():
        return spec
    low, high = map(float, said.get(_WINDOW, f"{spec.window.low},{spec.window.high}").split(","))
    return replace(spec.in_window((low, high)), windows=())


def recognise(checkpoint: Checkpoint, path: str | Path) -> Architecture:
    """Determine the network of the SAM family that a checkpoint is for.

    Args:
        checkpoint: result of ``read_checkpoint``.
        path: the file, for the message.

    Raises:
        WeightsError: weights of another model, or of an unknown kind; the message describes the content.
    """
    state = checkpoint.state
    for other in _OTHERS:
        if any(key.startswith(other.prefixes) for key in state):
            name = other.name.format(form=checkpoint.form)
            raise WeightsError(f"{path}: this is {name}, not a SAM; {other.advice}; {_WANTED}")
    encoder = _encoder(state, path)
    if encoder is None:
        raise WeightsError(f"{path}: this is {_unknown(checkpoint)}; {_WANTED}")
    if absent := [key for key in _DECODING if key not in state]:
        raise WeightsError(
            f"{path}: this is no whole SAM, its prompt encoder or mask decoder is missing ({few(absent)}); {_WANTED}"
        )
    return encoder


def without_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop the classifier of TinyViT's pretraining from a state dict."""
    return {key: value for key, value in state.items() if not key.startswith(_CLASSIFIER)}


def _encoder(state: Mapping[str, Tensor], path: str | Path) -> Architecture | None:
    """Determine the image encoder by its shapes; None where there is none."""
    positions, stem = state.get(_POSITIONS), state.get(_STEM)
    if positions is not None and positions.ndim == 4:
        blocks = {key.split(".")[2] for key in state if key.startswith("image_encoder.blocks.")}
        found = _VITS.get((positions.shape[-1], len(blocks)))
        if found is None or tuple(positions.shape[1:3]) != (64, 64):
            raise WeightsError(
                f"{path}: this is a SAM-like model with {len(blocks)} blocks of width {positions.shape[-1]} on a "
                f"{positions.shape[1]}x{positions.shape[2]} grid; {_WANTED}, on a 64x64 grid"
            )
        return found
    if stem is not None:
        found = _TINY_VITS.get(tuple(stem.shape))
        if found is None:
            raise WeightsError(
                f"{path}: this is a SAM with a TinyViT of another size (first convolution {tuple(stem.shape)}; known "
                f"are {', '.join(map(str, _TINY_VITS))}); {_WANTED}"
            )
        return found
    return None


def _unknown(checkpoint: Checkpoint) -> str:
    """Describe a checkpoint without an image encoder."""
    keys = list(checkpoint.state)
    inside = next((key for key in keys if ".image_encoder." in key), None)
    if inside is not None:
        prefix = inside[: inside.index("image_encoder.")]
        return (
            f"a {checkpoint.form} of a model that holds a SAM under {prefix!r}; save that part's state dict alone, "
            "so that its names begin with image_encoder."
        )
    if any(key.startswith(("encoder.", "decoder.", "network.", "model.", "net.")) for key in keys):
        return (
            f"a {checkpoint.form} of another network, not a SAM (keys {few(keys)}); of a training of medlsam give the "
            ".safetensors file that was made from it"
        )
    return f"a {checkpoint.form} of an unknown kind (keys {few(keys)})"
