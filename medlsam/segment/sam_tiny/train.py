"""Training of ``sam-tiny``.

``python -m medlsam.segment.sam_tiny.train fit --config configs/segmenter_tiny.yaml`` trains (LightningCLI: every
field of the dataclasses is an option) and writes ``sam-tiny.safetensors`` beside its logs when it ends;
``python -m medlsam.segment.sam_tiny.train export CHECKPOINT FILE`` writes the weights of a checkpoint before that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from medlsam.segment.sam_tiny.network import TinyConfig, TinySam
from medlsam.segment.sam_tiny.train_crop import Sample
from medlsam.segment.sam_tiny.train_data import VALIDATION, TinyDataModule
from medlsam.training.cli import TrainingCLI
from medlsam.training.losses import hard_dice, mask_losses
from medlsam.training.schedule import ClockedLR, warmup_cosine
from medlsam.weights.store import load_weights, save_weights

#: Every so many batches come without points: a prompt without any has fewer tokens.
_WITHOUT_POINTS = 2


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
                ends. Training ends with it; one that was killed and resumed has the rest of it.
            init_from: checkpoint or weights file to begin with; what it lacks begins as in a new network.
        """
        super().__init__()
        self.net_config = net or TinyConfig()
        self.save_hyperparameters({"net": asdict(self.net_config)})
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.total_steps = warmup_steps, total_steps
        self.minutes = minutes
        self.net = TinySam(self.net_config)
        if init_from is not None:
            self.net.load_state_dict(start_weights(Path(init_from), self.net))
        self.ema = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(ema_decay), use_buffers=True)
        self.ema.requires_grad_(False)

    def losses(self, batch: Sample, with_points: bool = False) -> dict[str, Tensor]:
        """Compute the loss of one batch; see ``mask_losses``."""
        points = batch["points"] if with_points else None
        logits, quality = self.net(batch["crop"], batch["box"], batch["error"], batch["mask_prompt"], points)
        return mask_losses(logits, quality, batch["mask"])

    def training_step(self, batch: Sample, batch_idx: int) -> Tensor:
        """Compute the loss of one batch of crops, and log its parts."""
        parts = self.losses(batch, bool(batch_idx % _WITHOUT_POINTS))
        self.log_dict(
            {f"train/{name}": part.detach() for name, part in parts.items()}, batch_size=len(batch["box"])
        )
        return parts["loss"]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the averaged weights."""
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.net)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the training when its minutes are over."""
        schedule = self.lr_schedulers()
        if self.minutes is not None and isinstance(schedule, ClockedLR):
            self.trainer.should_stop |= schedule.seconds >= 60 * self.minutes

    def validation_step(self, batch: Sample, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the Dice of the averaged weights on one kind of prompts."""
        kind = list(VALIDATION)[dataloader_idx]
        points = batch["points"] if kind == "points" else None
        logits, _ = self.ema(batch["crop"], batch["box"], batch["error"], batch["mask_prompt"], points)
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
        return warmup_cosine(optimizer, self.warmup_steps, self.total_steps, floor=0.01, minutes=self.minutes)

    def export(self, path: Path) -> None:
        """Write the averaged weights as a segmenter file that ``load_segmenter`` reads."""
        save_weights(path, self.ema.module.state_dict(), asdict(self.net_config), kind="segmenter", half=True)


def net_state(checkpoint: dict[str, Any], prefix: str = "ema.module.") -> dict[str, Tensor]:
    """Take the averaged weights out of a training checkpoint; those of the last step with ``net.`` as the prefix."""
    return {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}


def start_weights(file: Path, net: TinySam) -> dict[str, Tensor]:
    """Read the weights that training starts from: the averaged ones of a checkpoint, or a weights file.

    Args:
        file: ``.ckpt`` or ``.safetensors``.
        net: the network to train; layers that the file lacks stay as they are in it.
    """
    if file.suffix == ".safetensors":
        state = {name: tensor.float() for name, tensor in load_weights(file, "segmenter")[0].items()}
    else:
        state = net_state(torch.load(file, map_location="cpu", weights_only=True))
    return {**net.state_dict(), **state}


def export(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint's averaged weights as a segmenter file that ``load_segmenter`` reads."""
    data = torch.load(checkpoint, map_location="cpu", weights_only=True)
    save_weights(target, net_state(data), data["hyper_parameters"]["net"], kind="segmenter", half=True)


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command line of this module."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["export"] and len(given) == 3:
        export(Path(given[1]), Path(given[2]))
        return
    own = None if arguments is None else given
    TrainingCLI(TinyTraining, TinyDataModule, own, weights_name="sam-tiny.safetensors")


if __name__ == "__main__":
    main()
