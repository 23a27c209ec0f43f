"""What several training processes have to agree on: sums over all of them. With one process nothing is sent."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """How many processes train together; 1 where none were started."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient; every process must call it at the same place.

    Args:
        value: the same shape in every process.
    """
    total = value.detach()
    if process_count() > 1:
        total = total.clone()
        dist.all_reduce(total)
    return total


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without gradient; see ``total_over_processes``."""
    return total_over_processes(value) / process_count()
