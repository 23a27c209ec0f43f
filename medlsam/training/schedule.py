"""The learning rate: linear warm-up, then a cosine; or linear decay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(
    optimizer: Optimizer,
    warmup_steps: int,
    total_steps: int,
    *,
    floor: float = 0.0,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Raise the learning rate linearly to the optimizer's, then lower it along half a cosine.

    Args:
        optimizer: its learning rate is the peak.
        warmup_steps: optimisation steps up to the peak.
        total_steps: optimisation steps to the end of the cosine.
        floor: share of the peak at the end of the cosine and after it.
        minutes: the cosine's length on the clock instead, from now, for a machine whose time ends; a resumed training
            has what was left of it.

    Returns:
        What ``LightningModule.configure_optimizers`` returns.
    """

    def factor(step: int, seconds: float) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        if minutes is not None:
            done = seconds / (60 * minutes)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": ClockedLR(optimizer, factor), "interval": "step"},
    }


def linear_decay(optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """Lower the learning rate linearly from the optimizer's to 0.

    Args:
        optimizer: its learning rate is the first.
        total_steps: optimisation steps to the end.

    Returns:
        What ``LightningModule.configure_optimizers`` returns.
    """
    schedule = LambdaLR(optimizer, lambda step: max(0.0, 1 - step / max(1, total_steps)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class ClockedLR(LambdaLR):
    """A schedule of steps and of time, which goes on where a checkpoint was written.

    Args:
        optimizer: its learning rate is the peak.
        factor: share of the peak at a step and after so many seconds of training.
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int, float], float]) -> None:
        self._began = time.monotonic()
        super().__init__(optimizer, lambda step: factor(step, self.seconds))

    @property
    def seconds(self) -> float:
        """How long it has been trained, without the time between a kill and the resumption."""
        return time.monotonic() - self._began

    def state_dict(self) -> dict[str, Any]:
        """Return the state, with the seconds in place of this machine's clock."""
        state: dict[str, Any] = super().state_dict()
        del state["_began"]
        return {**state, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state; from one of earlier versions with a clock that begins now."""
        state = dict(state_dict)
        self._began = time.monotonic() - state.pop("seconds", 0.0)
        super().load_state_dict(state)
