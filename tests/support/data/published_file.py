"""A checkpoint of the paper's network with random values and few channels: the names and the network, not the skill."""

from __future__ import annotations

from pathlib import Path

import torch

from medlsam.localize.medlam.network import PublishedNetwork


def small_network(seed: int = 0, base: int = 2) -> PublishedNetwork:
    """The network at a fraction of the released width of 24: at a twelfth it is a hundredth of the work."""
    torch.manual_seed(seed)
    return PublishedNetwork(base).eval().requires_grad_(False)


def write_checkpoint(path: Path, seed: int = 0, base: int = 2) -> Path:
    """Write a file as the original's ``extract_weights.py`` does: half precision, names of DataParallel."""
    state = small_network(seed, base).state_dict()
    torch.save({f"module.{name}": value.half() for name, value in state.items()}, path)
    return path
