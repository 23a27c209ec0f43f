"""Training of ``sam-tiny``.

``python -m medlsam.segment.tiny_train fit --config configs/segmenter_tiny.yaml`` trains (LightningCLI: every
field of the dataclasses is an option); ``python -m medlsam.segment.tiny_train export CHECKPOINT FILE`` writes
the weights file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.cli import LightningCLI
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from medlsam.runtime.device import lightning_precision, resolve_device
from medlsam.segment.sam_tiny.network import TinyConfig, TinySam
from medlsam.segment.sam_tiny.train_arrays import build_pool, load_pool
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_samples import (
    Sample,
    SampleSource,
    SampleStream,
    collect_shapes,
)
from medlsam.segment.sam_tiny.train_weights import export, start_weights

# true slice boxes, jittered ones, ones as wrong as located ones, and these with other patients' mean shape or with
# a point inside or outside (as shares of exact boxes, of jittered ones, and of samples with points)
VALIDATION = {
    "exact": (1.0, 0.0, 0.0),
    "jittered": (0.0, 1.0, 0.0),
    "located": (0.0, 0.0, 0.0),
    "prior": (0.0, 0.0, 0.0),
    "points": (0.0, 0.0, 1.0),
}
#: Every so many batches come without points: a prompt without any has fewer tokens.
_WITHOUT_POINTS = 2


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of each crop, (B,); crops (B, H, W) with an empty target count 0 (cross-entropy has them)."""
    probability = logits.sigmoid().flatten(1)
    target = target.flatten(1)
    overlap = 2 * (probability * target).sum(1) + 1
    loss = 1 - overlap / (probability.sum(1) + target.sum(1) + 1)
    return torch.where(target.sum(1) >= 1, loss, torch.zeros_like(loss))


def hard_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice of the thresholded masks of each crop, (B,); 1 where both are empty."""
    predicted, truth = (logits > 0).flatten(1), (target > 0.5).flatten(1)
    both = predicted.sum(1) + truth.sum(1)
    return torch.where(
        both > 0, 2 * (predicted & truth).sum(1) / both.clamp(min=1), torch.ones(len(logits)).to(both)
    )


class TinyTraining(lightning.LightningModule):
    """Dice and cross-entropy on the mask, squared error on the predicted IoU; AdamW, warm-up and cosine."""

    def __init__(
        self,
        net: TinyConfig | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.02,
        warmup_steps: int = 200,
        total_steps: int = 6000,
        ema_decay: float = 0.998,
        minutes: float | None = None,
        init_from: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            net: its sizes.
            learning_rate: at the top of the schedule.
            weight_decay: of all tensors of two or more axes.
            warmup_steps: steps to the top.
            total_steps: steps to the end of the cosine.
            ema_decay: of the averaged weights, which validate and ship.
            minutes: the cosine's length on the clock instead, for a machine that is shared and whose time
                ends; give the trainer the same ``max_time``.
            init_from: checkpoint or weights file to begin with; what it lacks begins as in a new network.
        """
        super().__init__()
        self.net_config = net or TinyConfig()
        self.save_hyperparameters({"net": asdict(self.net_config)})
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        self.minutes, self.started = minutes, 0.0
        self.net = TinySam(self.net_config)
        if init_from is not None:
            self.net.load_state_dict(start_weights(Path(init_from), self.net))
        self.ema = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)
        self.ema.requires_grad_(False)

    def losses(self, batch: Sample, with_points: bool = False) -> dict[str, Tensor]:
        """The parts of the loss for one batch, and their sum under ``loss``."""
        points = batch["points"] if with_points else None
        logits, quality = self.net(batch["crop"], batch["box"], batch["error"], batch["prior"], points)
        logits, quality, target = logits.float(), quality.float(), batch["mask"]
        dice = soft_dice_loss(logits, target).mean()
        cross = functional.binary_cross_entropy_with_logits(logits, target)
        predicted, truth = (logits > 0).flatten(1), (target > 0.5).flatten(1)
        iou = (predicted & truth).sum(1) / (predicted | truth).sum(1).clamp(min=1)
        guess = functional.mse_loss(quality, iou)
        return {"loss": dice + cross + 0.1 * guess, "dice": dice, "cross_entropy": cross, "iou_error": guess}

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """The loss of one batch of crops."""
        parts = self.losses(batch, bool(batch_idx % _WITHOUT_POINTS))
        self.log_dict(
            {f"train/{name}": part.detach() for name, part in parts.items()}, batch_size=len(batch["box"])
        )
        return parts["loss"]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the averaged weights along."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.net)

    def validation_step(self, batch: Sample, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Dice of the averaged weights on one of the kinds of prompts."""
        kind = list(VALIDATION)[dataloader_idx]
        points = batch["points"] if kind == "points" else None
        logits, _ = self.ema(batch["crop"], batch["box"], batch["error"], batch["prior"], points)
        dice = hard_dice(logits, batch["mask"])
        self.log(
            f"val/{kind}",
            dice.mean(),
            batch_size=len(dice),
            add_dataloader_idx=False,
            prog_bar=True,
        )

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up, cosine down to a hundredth."""
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        kept = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": kept, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)

        self.started = time.monotonic()

        def factor(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            if self.minutes is not None:
                done = (time.monotonic() - self.started) / (60 * self.minutes)
            return 0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, done))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Fixed(Dataset[Sample]):
    """Samples drawn once."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class TinyCrops(lightning.LightningDataModule):
    """Training crops without end, and fixed validation crops of the held-out cases.

    Args:
        pool: folder of the pool.
        ct: folder that the pool is built from if it is not there.
        net: as in ``TinyTraining``; only the sizes and windows matter.
        sampling: what is drawn.
        batch_size: crops a step.
        workers: processes that draw crops; 0 draws them in the training process.
        seed: of the draws.
        phantoms: how many phantoms the pool shall hold.
        slices: how many slices of each held-out structure validate.
    """

    def __init__(
        self,
        pool: str,
        ct: str | None = None,
        net: TinyConfig | None = None,
        sampling: SamplingConfig | None = None,
        batch_size: int = 32,
        workers: int = 1,
        seed: int = 0,
        phantoms: int = 0,
        slices: int = 2,
    ) -> None:
        super().__init__()
        self.pool, self.ct = Path(pool), Path(ct) if ct else None
        self.net, self.sampling = net or TinyConfig(), sampling or SamplingConfig()
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.phantoms, self.slices = phantoms, slices

    def prepare_data(self) -> None:
        """Build the pool, where a source is given."""
        if self.ct is not None:
            build_pool(self.ct, self.pool, self.phantoms)

    def setup(self, stage: str) -> None:
        """Open the pool and draw the validation crops."""
        cases = load_pool(self.pool)
        trained = [case for case in cases if not case.held_out]
        self.source = SampleSource(trained, self.net, self.sampling)
        shapes = collect_shapes(trained)
        self.validation = {
            name: self._fixed(
                SampleSource(
                    [case for case in cases if case.held_out],
                    self.net,
                    replace(
                        self.sampling,
                        exact=exact,
                        jittered=jittered,
                        points=points,
                        intensity=False,
                        zoom=(self.net.zoom, self.net.zoom + 1e-6),
                        min_side_mm=(self.net.min_side_mm, self.net.min_side_mm),
                    ),
                    shapes,
                ),
                prior=name == "prior",
            )
            for name, (exact, jittered, points) in VALIDATION.items()
        }

    def _fixed(self, source: SampleSource, prior: bool) -> _Fixed:
        rng = np.random.default_rng(self.seed)
        made = []
        for case in source.cases:
            for structure in case.structures:
                where = structure.where[0]
                places = np.linspace(where.start, where.stop - 1, self.slices + 2)[1:-1].round().astype(int)
                for index in places:
                    made.append(source.structure_sample(case, structure, 0, int(index), prior, rng))
        return _Fixed([sample for sample in made if sample is not None])

    def train_dataloader(self) -> DataLoader[Sample]:
        """Crops without end."""
        stream = SampleStream(self.source, self.seed)
        return DataLoader(
            stream, self.batch_size, num_workers=self.workers, prefetch_factor=4 if self.workers else None
        )

    def val_dataloader(self) -> list[DataLoader[Sample]]:
        """One loader for each kind of box."""
        return [DataLoader(fixed, self.batch_size) for fixed in self.validation.values()]


class TinyCLI(LightningCLI):
    """LightningCLI that picks bf16 where the device is fast at it, and float32 elsewhere."""

    def before_instantiate_classes(self) -> None:
        """Fill in ``trainer.precision`` when the configuration leaves it open."""
        trainer = self.config[self.subcommand].trainer if self.subcommand else self.config.trainer
        if trainer.precision is None:
            device = resolve_device("cpu" if trainer.accelerator == "cpu" else "auto")
            trainer.precision = lightning_precision("auto", device)


def main(arguments: Iterable[str] | None = None) -> None:
    """The command line of this module."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["export"] and len(given) == 3:
        export(Path(given[1]), Path(given[2]))
        return
    own = None if arguments is None else given
    TinyCLI(TinyTraining, TinyCrops, args=own, save_config_kwargs={"overwrite": True})


if __name__ == "__main__":
    main()
