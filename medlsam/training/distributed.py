"""Sums and means over all training processes; a single process sends nothing."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """Count the processes that train together; 1 if none were started."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total_over_processes(value: Tensor) -> Tensor:
    """Sum a tensor over all processes, without gradient; every process must call it at the same point.

    Args:
        value: the same shape in every process.
    """
    total = value.detach()
    if process_count() > 1:
        total = total.clone()
        dist.all_reduce(total)
    return total


def mean_over_processes(value: Tensor) -> Tensor:
    """Average a tensor over all processes, without gradient; see ``total_over_processes``."""
    return total_over_processes(value) / process_count()
