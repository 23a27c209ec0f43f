"""Seconds by the clock and of the processors, and how many scans or cubes go through a network meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

#: (2,) seconds: by the clock, and of all processors together.
Seconds = NDArray[np.float64]


@dataclass
class Times:
    """What repeats of one way of searching took.

    Attributes:
        passes: scans or cubes that went through the network, in one repeat.
        embed: one value a repeat.
        locate: one value a repeat.
    """

    passes: int = 0
    embed: list[Seconds] = field(default_factory=list)
    locate: list[Seconds] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Medians, and the spread of the sum as its smallest and largest value."""
        both = np.add(self.embed, self.locate)
        return {
            "passes": self.passes,
            "embed_s": round(float(np.median(self.embed, axis=0)[0]), 3),
            "locate_s": round(float(np.median(self.locate, axis=0)[0]), 3),
            "total_s": round(float(np.median(both[:, 0])), 3),
            "total_range_s": [round(float(both[:, 0].min()), 3), round(float(both[:, 0].max()), 3)],
            "processor_s": round(float(np.median(both[:, 1])), 3),
            "n": len(both),
        }


@contextmanager
def counted(network: nn.Module) -> Iterator[list[int]]:
    """Counts what goes through a network while the block runs: the last item is the number of scans or cubes."""
    count = [0]
    first = next(module for module in network.modules() if isinstance(module, nn.Conv3d))

    def seen(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        count[0] += len(inputs[0])

    hook = first.register_forward_hook(seen)
    try:
        yield count
    finally:
        hook.remove()


def timed(work: Callable[[], Any]) -> tuple[Seconds, Any]:
    """What some work took, and what it returned."""
    start = np.array([time.perf_counter(), time.process_time()])
    result = work()
    return np.array([time.perf_counter(), time.process_time()]) - start, result
