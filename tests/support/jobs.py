"""Jobs that worker processes can import: plain work, and work that kills the process that does it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from medlsam.errors import WeightsError


@dataclass(frozen=True)
class FunctionJob:
    """A job that needs nothing but a function of a module, or a ``partial`` of one."""

    function: Callable[[Any], Any]
    slots: ClassVar[int] = 4

    def start(self) -> None:
        """Nothing to load."""

    def __call__(self, item: Any, following: Any = None) -> Any:
        return self.function(item)


@dataclass(frozen=True)
class BrokenJob(FunctionJob):
    """A job that no process can start."""

    def start(self) -> None:
        raise WeightsError("w.safetensors: damaged")


def square(number: int) -> int:
    """Work without trouble."""
    return number * number


def die_at_two(number: int) -> int:
    """Work that kills its process over one item."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_once(flag: Path, number: int) -> int:
    """Work that kills its process over one item, the first time only."""
    if number == 2 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def fail_at_two(number: int) -> int:
    """Work that raises over one item."""
    if number == 2:
        raise ZeroDivisionError("two")
    return number * number


def sleep_long(folder: Path, number: int) -> None:
    """Work that leaves word of its process and does not end."""
    (folder / f"{number}.{os.getpid()}").touch()
    time.sleep(600)


def manners(_: int) -> tuple[str | None, bool, int]:
    """What Dask set of the C library's memory, whether Ctrl-C is left to others, and threads to compute with."""
    import torch

    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return os.environ.get("MALLOC_TRIM_THRESHOLD_"), ignored, torch.get_num_threads()
