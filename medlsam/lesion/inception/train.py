"""Training of the lesion network.

``python -m medlsam.lesion.inception.train fit --config configs/lesion_inception.yaml`` trains (LightningCLI: every
field is an option) and writes ``lesions.safetensors`` beside its logs when it ends, which ``medlsam lesion segment``
takes. ``python -m medlsam.lesion.inception.train export CHECKPOINT FILE`` writes the weights of a checkpoint before
that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from medlsam.errors import MedlsamError, UsageError, WeightsError
from medlsam.lesion.inception.config import InceptionConfig
from medlsam.lesion.inception.data import LesionDataModule
from medlsam.lesion.inception.loss import class_counts, supervised
from medlsam.lesion.inception.network import InceptionUNet
from medlsam.lesion.inception.patches import Patch
from medlsam.lesion.inception.plan import ScanPlan
from medlsam.lesion.inception.transfer import start_from
from medlsam.training.cli import TrainingCLI
from medlsam.training.distributed import total_over_processes
from medlsam.training.schedule import linear_decay
from medlsam.weights.checkpoint import read_checkpoint
from medlsam.weights.store import save_weights


class InceptionTraining(lightning.LightningModule):
    """Dice and cross-entropy, learning rate falling linearly to 0 over the whole training."""

    def __init__(
        self,
        class_names: list[str],
        net: InceptionConfig | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 3e-5,
        optimizer: Literal["sgd", "adamw"] = "sgd",
        deep_supervision: bool = True,
        init_from: str | None = None,
    ) -> None:
        """Make the network.

        Args:
            class_names: the lesions; the command line takes them from the data.
            net: its sizes.
            learning_rate: at the beginning (the paper's 0.001).
            weight_decay: nnU-Net's 3e-5.
            optimizer: ``sgd`` with Nesterov momentum 0.99, as nnU-Net, or ``adamw``, which needs fewer steps.
            deep_supervision: whether the coarser stages of the decoder are trained as well.
            init_from: weights or checkpoint to begin with, of these or of other lesions.
        """
        super().__init__()
        self.class_names, self.net_config = list(class_names), net or InceptionConfig()
        self.save_hyperparameters({"net": asdict(self.net_config), "class_names": self.class_names})
        self.learning_rate, self.weight_decay, self.optimizer_name = learning_rate, weight_decay, optimizer
        self.net = InceptionUNet(self.net_config, len(self.class_names) + 1, deep_supervision)
        if init_from is not None:
            start_from(self.net, Path(init_from), self.class_names)
        self.plan: ScanPlan | None = None
        self._counts: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Take the plan from the data, to be saved with the weights."""
        plan: ScanPlan = self.trainer.datamodule.plan  # type: ignore[attr-defined]
        if [name for _, name in plan.names] != self.class_names:
            raise UsageError(
                f"the network's lesions are {', '.join(self.class_names)}, those of the dataset "
                f"{', '.join(name for _, name in plan.names)}; leave model.class_names out"
            )
        if any(n % d for n, d in zip(plan.patch_zyx, self.net_config.divisor, strict=True)):
            raise UsageError(
                f"data.patch {plan.patch_zyx} (z, y, x): give multiples of {self.net_config.divisor}, the strides of "
                f"model.net with {len(self.net_config.widths)} stages"
            )
        self.plan = plan

    def training_step(self, batch: Patch, batch_idx: int) -> Tensor:
        """Compute the loss of one batch of patches."""
        loss = supervised(self.net(batch["image"]), batch["labels"])
        self.log("train/loss", loss.detach(), batch_size=len(batch["labels"]))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._counts = torch.zeros(len(self.class_names), 2, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: Patch, batch_idx: int) -> None:
        """Count the voxels of each class over the fixed patches."""
        outputs = self.net(batch["image"])
        logits = outputs if isinstance(outputs, Tensor) else outputs[0]
        assert self._counts is not None, "counting has begun"
        self._counts += class_counts(logits, batch["labels"])

    def on_validation_epoch_end(self) -> None:
        """Log Dice by class, pooled over the patches, and their mean; a class that is nowhere has none."""
        assert self._counts is not None, "counting has begun"
        counts = total_over_processes(self._counts).float()
        dice = counts[:, 0] / counts[:, 1]
        named = {
            f"val/dice/{name}": d for name, d in zip(self.class_names, dice, strict=True) if not d.isnan()
        }
        self.log_dict(named)
        self.log("val/dice", dice.nanmean(), prog_bar=True)  # nan where there is no lesion and none was found

    def configure_optimizers(self) -> Any:
        """SGD or AdamW; linear decay over all steps of the trainer."""
        parameters = self.net.parameters()
        optimizer: torch.optim.Optimizer
        if self.optimizer_name == "sgd":
            optimizer = torch.optim.SGD(
                parameters, self.learning_rate, momentum=0.99, nesterov=True, weight_decay=self.weight_decay
            )
        else:
            optimizer = torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay)
        return linear_decay(optimizer, int(self.trainer.estimated_stepping_batches))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with the training of other lesions or on other voxels: equal shapes would hide it.

        Raises:
            WeightsError: the checkpoint is of another training; the message says what differs.
        """
        assert self.plan is not None, "the data are set up before a checkpoint is read"
        place = str(self.trainer.ckpt_path)
        theirs = _plan_in(checkpoint, place)
        for what in ("names", "spacing_xyz", "hu_range", "mean", "std"):
            before, now = getattr(theirs, what), getattr(self.plan, what)
            if before != now:
                raise WeightsError(
                    f"{place} is of a training with {what} {before}, here they are {now}; begin with its weights by "
                    "--model.init_from, or give it its own data"
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the plan beside the weights."""
        if self.plan is not None:
            checkpoint["scan_plan"] = self.plan.to_dict()

    def export(self, path: Path) -> None:
        """Write the weights as a file that ``medlsam lesion segment`` reads."""
        assert self.plan is not None, "a training has begun"
        save_network(path, self.net.state_dict(), self.net_config, self.plan)


class LesionCLI(TrainingCLI):
    """The command line; the network's classes are those of the data."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the classes."""
        parser.link_arguments("data", "model.class_names", compute_fn=_names, apply_on="instantiate")


def _names(data: LesionDataModule) -> list[str]:
    return data.class_names


def save_network(path: Path, state: dict[str, Tensor], config: InceptionConfig, plan: ScanPlan) -> None:
    """Write the network, its sizes and its plan as one weights file."""
    save_weights(
        path, state, {"net": asdict(config), "plan": plan.to_dict()}, kind="lesion-network", half=True
    )


def export(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint's weights as a file that ``medlsam lesion segment`` reads.

    Raises:
        WeightsError: no such file, damaged, or a checkpoint of another training.
    """
    # It names what is wrong with any other file.
    state = read_checkpoint(checkpoint, "a checkpoint of medlsam.lesion.inception.train is wanted").state
    data = torch.load(checkpoint, map_location="cpu", weights_only=True)
    plan, config = _plan_in(data, checkpoint), InceptionConfig.from_dict(data["hyper_parameters"]["net"])
    own = {k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")}
    save_network(target, own, config, plan)


def _plan_in(content: Mapping[str, Any], place: Path | str) -> ScanPlan:
    """The plan that a checkpoint of this training holds."""
    if "scan_plan" not in content or "net" not in content.get("hyper_parameters", {}):
        raise WeightsError(f"{place}: not a checkpoint of medlsam.lesion.inception.train")
    return ScanPlan.from_dict(content["scan_plan"])


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command line of this module."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["export"]:
        if len(given) != 3:
            raise UsageError(f"export takes CHECKPOINT and FILE.safetensors, got {len(given) - 1} arguments")
        export(Path(given[1]), Path(given[2]))
        return
    own = None if arguments is None else given
    LesionCLI(InceptionTraining, LesionDataModule, own, weights_name="lesions.safetensors")


if __name__ == "__main__":
    try:
        main()
    except MedlsamError as error:
        raise SystemExit(f"error: {error}") from None
