"""The learning rate: linear warm-up, then a cosine."""

from __future__ import annotations

import math
import time
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
        minutes: the cosine's length on the clock instead, from now, for a machine whose time ends.

    Returns:
        What ``LightningModule.configure_optimizers`` returns.
    """
    started = time.monotonic()

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        if minutes is not None:
            done = (time.monotonic() - started) / (60 * minutes)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"},
    }
