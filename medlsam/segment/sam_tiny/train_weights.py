"""From training checkpoints of ``sam-tiny`` to weights files, and back to where a training starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medlsam.segment.sam_tiny.network import TinySam
from medlsam.weights.store import load_weights, save_weights


def net_state(checkpoint: dict[str, Any], prefix: str = "ema.module.") -> dict[str, Tensor]:
    """The averaged weights in a training checkpoint; those of the last step with ``net.`` as the prefix."""
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def start_weights(file: Path, net: TinySam) -> dict[str, Tensor]:
    """What training starts from: the averaged weights of a checkpoint, or a weights file.

    Args:
        file: ``.ckpt`` or ``.safetensors``.
        net: the network that will train; layers that the file lacks are as it has them.
    """
    if file.suffix == ".safetensors":
        state = {name: tensor.float() for name, tensor in load_weights(file, "segmenter")[0].items()}
    else:
        state = net_state(torch.load(file, map_location="cpu", weights_only=True))
    return {**net.state_dict(), **state}


def export(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint's averaged weights as a segmenter file that ``load_segmenter`` reads."""
    data = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_weights(target, net_state(data), data["hyper_parameters"]["net"], kind="segmenter", half=True)
