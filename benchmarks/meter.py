"""What goes through a network: calls, items, seconds and floating-point operations; and what the machine could do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

#: Side of the matrices whose product is timed.
SIDE = 2048


def matmul_rate(dtype: torch.dtype, repeats: int = 5) -> float:
    """Best rate of a product of two matrices of 2048 x 2048, GFLOP/s."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * SIDE**3 / best / 1e9


def flops_of(work: Callable[[], Any]) -> float:
    """Floating-point operations of matrix products, convolutions and attention in some work, GFLOP."""

    def attention(q: Any, k: Any, v: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return int(sdpa_flop_count(q, k, v))

    # torch's counter does not know the CPU's fused kernel.
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={kernel: attention}) as counter:
        work()
    return float(counter.get_total_flops() / 1e9)


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


class Meter:
    """Counts and times what goes through one function of a network, which it stands in for while the block runs.

    Attributes:
        calls: of the function.
        items: scans, cubes, crops or slices in them.
        seconds: in them.
        gflop: of all of them, from one that is repeated at the end.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self.calls = self.items = 0
        self.seconds = self.gflop = 0.0
        self._last: tuple[Any, Any] | None = None

    def __enter__(self) -> Meter:
        self._own = self.name in vars(self.owner)
        self._inner = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self._call)
        return self

    def _call(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        result = self._inner(*arguments, **options)
        self.seconds += time.perf_counter() - began
        self.calls += 1
        self.items += self._size(arguments)
        if self._last is None or self._size(arguments) >= self._size(self._last[0]):
            self._last = arguments, options
        return result

    @staticmethod
    def _size(arguments: Any) -> int:
        first = next(one for one in arguments if isinstance(one, torch.Tensor))
        return len(first)

    def __exit__(self, *_: object) -> None:
        if self._own:
            setattr(self.owner, self.name, self._inner)
        else:
            delattr(self.owner, self.name)
        if self._last is not None:
            # In float32, whatever it ran in: torch's counter takes operations apart below autocast. They are as many.
            arguments, options = tree_map(_float32, self._last)
            with torch.inference_mode():
                once = flops_of(lambda: self._inner(*arguments, **options))
            self.gflop = once / self._size(arguments) * self.items
            self._last = None


def peak_gb() -> float:
    """The most memory that this process has held so far, GB; Linux only."""
    # Not getrusage: its peak begins with that of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 2**20
