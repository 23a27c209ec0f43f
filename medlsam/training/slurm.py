"""SLURM jobs that run out of time: save a checkpoint between two steps, and requeue the job."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment


def slurm_environment() -> list[SLURMEnvironment]:
    """Return SLURM's environment, with requeueing, if ``srun`` has started this process in a job; else nothing."""
    if "SLURM_JOB_ID" in os.environ and SLURMEnvironment.detect():
        return [SLURMEnvironment(auto_requeue=True)]
    return []


class RequeueBetweenSteps(Callback):
    """Delays Lightning's reaction to SLURM's signal until the end of the step, the same one in all processes.

    Lightning saves and requeues in the signal handler, which may interrupt the optimizer between two weights, and the
    processes in different steps. A resumed run would then end elsewhere than an unbroken one, or hang.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._signal: int | None = None
        self._handler: Callable[[int, FrameType | None], Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler."""
        # Also where there is one process, whose strategy knows no environment.
        environment = trainer._accelerator_connector.cluster_environment
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return
        assert environment.requeue_signal is not None, "SLURM runs on no system without it"
        handler = signal.getsignal(environment.requeue_signal)
        if callable(handler):
            self._signal, self._handler = environment.requeue_signal, handler
            signal.signal(self._signal, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and requeue, if any process got the signal."""
        if self._handler is None or self._signal is None:
            return
        if trainer.strategy.reduce_boolean_decision(self._signalled, all=False):
            self._signalled = False
            self._handler(self._signal, None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signal back to Lightning's handler."""
        if self._handler is not None and self._signal is not None:
            signal.signal(self._signal, self._handler)
            self._signal = self._handler = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True
