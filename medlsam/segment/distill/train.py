"""Training of the whole student (Lightning), with a checkpoint from which a killed run goes on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from medlsam.errors import MedlsamError
from medlsam.segment.distill.labels import TaughtScan, in_words
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.distill.samples import DrawsModule
from medlsam.segment.finetune.train import quiet
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.segment.sam_tiny.train import TinyTraining
from medlsam.segment.sam_tiny.train_crop import Sample

#: Steps between two checkpoints.
CHECKPOINT_STEPS = 50
_SAID_STEPS = 10


class Distillation(TinyTraining):
    """Training with a teacher's masks, and where the box is vague with the answers of the weights that it began with.

    What a box that is centimetres off means is learned from labelled structures; regions without a name teach to hedge.
    So the student would forget to find located structures, if nothing held it to what it knew.
    """

    def __init__(self, net: TinyConfig, **training: Any) -> None:
        super().__init__(net, **training)
        self.start = deepcopy(self.net).requires_grad_(False)

    def losses(self, batch: Sample, with_points: bool = False) -> dict[str, Tensor]:
        """Compute the loss of one batch; see ``mask_losses``."""
        keep = batch["keep"]
        if bool(keep.any()):
            own = {name: tensor[keep] for name, tensor in batch.items()}
            points = own["points"] if with_points else None
            with torch.no_grad():
                answer, _ = self.start.eval()(
                    own["crop"], own["box"], own["error"], own["mask_prompt"], points
                )
            target = batch["mask"].clone()
            target[keep] = answer.sigmoid()
            batch = {**batch, "mask": target}
        return super().losses(batch, with_points)


def train(
    student: TinySegmenter,
    start: Path,
    scans: Sequence[TaughtScan],
    options: DistillOptions,
    device: torch.device,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], Path]:
    """Train a student, or go on where an earlier call with the same arguments was killed.

    Args:
        student: as loaded.
        start: its weights file.
        scans: to train on, judged.
        options: of the training.
        device: to train on.
        folder: of the checkpoint.
        say: gets the step and the time that is left.

    Returns:
        The averaged weights, on the CPU; and the checkpoint, to be removed when they are written.

    Raises:
        MedlsamError: the training diverged.
    """
    training = Distillation(
        student.config,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        warmup_steps=min(options.warmup_steps, options.steps // 2),
        total_steps=options.steps,
        ema_decay=options.ema,
        init_from=str(start),
    )
    key = _key(student.signature, scans, options)
    checkpoint = folder / f"{key}.ckpt"
    keep = ModelCheckpoint(
        dirpath=folder, filename=key, every_n_train_steps=CHECKPOINT_STEPS, enable_version_counter=False
    )
    with quiet():
        trainer = Trainer(
            max_steps=options.steps,
            max_epochs=1,
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="32-true",  # the steps are small, and the network too
            callbacks=[keep, _Progress(options.steps, say)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if checkpoint.is_file():
            say("going on from the last checkpoint")
        trainer.fit(
            training,
            datamodule=DrawsModule(scans, student.config, options),
            ckpt_path=str(checkpoint) if checkpoint.is_file() else None,
        )
    state = {name: tensor.detach().cpu() for name, tensor in training.ema.module.state_dict().items()}
    if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        checkpoint.unlink(missing_ok=True)
        raise MedlsamError(
            f"distillation diverged at learning_rate {options.learning_rate:g} (weights are not finite); lower it"
        )
    return state, checkpoint


def _key(signature: str, scans: Sequence[TaughtScan], options: DistillOptions) -> str:
    """Name a checkpoint by all that the training depends on."""
    what = hashlib.sha256(f"{signature}\n{options!r}\n".encode())
    for scan in scans:
        what.update(f"{scan.file.name} {scan.kept!r}\n".encode())
    return what.hexdigest()[:40]


class _Progress(Callback):
    """Says the step and the time that is left."""

    def __init__(self, steps: int, say: Callable[[str], None]) -> None:
        self.steps, self.say = steps, say

    def on_train_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        self.began, self.first = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: lightning.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        done = trainer.global_step
        if done % _SAID_STEPS and done != self.first + 2:
            return
        each = (time.monotonic() - self.began) / (done - self.first)
        self.say(f"step {done} of {self.steps}, about {in_words(each * (self.steps - done))} left")
