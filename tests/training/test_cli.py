"""A third training needs one module and one data module; the rest is shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningDataModule, LightningModule
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from medlsam.training.cli import TrainingCLI
from medlsam.training.losses import mask_losses
from medlsam.training.schedule import warmup_cosine
from medlsam.training.slurm import RequeueBetweenSteps


class Threshold(LightningModule):
    """Finds what is bright."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.scale = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (image,) = batch
        return mask_losses(image * self.scale, image.new_ones(len(image)), (image > 0).float())["loss"]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate)
        return warmup_cosine(optimizer, 2, int(self.trainer.estimated_stepping_batches))

    def export(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(self.state_dict()), path)


class Noise(LightningDataModule):
    """Images of noise."""

    def __init__(self, count: int = 8) -> None:
        super().__init__()
        self.count = count

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(torch.randn(self.count, 4, 4)), batch_size=2)


QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--data.count=4"]


def test_a_third_training() -> None:
    done = TrainingCLI(Threshold, Noise, ["fit", *QUIET, "--trainer.fast_dev_run=true"])
    assert done.trainer.global_step == 1
    assert done.model.scale.item() != 1
    assert done.trainer.precision in ("32-true", "bf16-mixed")


def test_a_third_training_exports_and_repeats(tmp_path: Path) -> None:
    """The same seed without being asked for, and the weights beside the logs."""

    def trained(name: str) -> dict[str, Tensor]:
        logger = "lightning.pytorch.loggers.CSVLogger"
        more = ["--trainer.max_epochs=3", f"--trainer.default_root_dir={tmp_path / name}"]
        more += [f"--trainer.logger={logger}", f"--trainer.logger.save_dir={tmp_path / name}"]
        TrainingCLI(Threshold, Noise, ["fit", *QUIET, *more], weights_name="threshold.safetensors")
        (file,) = tmp_path.joinpath(name).rglob("threshold.safetensors")
        return load_file(file)

    first, second = trained("first"), trained("second")
    assert first["scale"].item() > 1
    assert torch.equal(first["scale"], second["scale"])


@pytest.mark.parametrize(
    ("given", "found"), [([], ("32-true", "bf16-mixed")), (["--trainer.precision=64-true"], ("64-true",))]
)
def test_precision_is_chosen_where_it_is_left_open(given: list[str], found: tuple[str, ...]) -> None:
    made = TrainingCLI(Threshold, Noise, [*QUIET, *given], run=False)
    assert made.trainer.precision in found
    assert any(isinstance(own, RequeueBetweenSteps) for own in made.trainer.callbacks)
