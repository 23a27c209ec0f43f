"""``InceptionUNet`` as a trainer of nnU-Net version 2 (the extra ``nnunet``).

nnU-Net knows a trainer by its name, and looks for it in its own folders and in those that the environment variable
``nnUNet_extTrainer`` lists (from version 2.8 on). This sets it and runs nnU-Net's own command in the same process:

    python -m medlsam.lesion.inception.nnunet nnUNetv2_train 1 3d_fullres 0 -tr nnUNetTrainerInception -p PLANS

``python -m medlsam.lesion.inception.nnunet`` alone prints the folder, to set the variable oneself. Prediction looks the
trainer up by name as well, so it is called the same way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medlsam.errors import UsageError
from medlsam.lesion.inception.config import config_of_plans
from medlsam.lesion.inception.network import InceptionUNet

try:
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
except ImportError as error:
    raise ImportError(
        f'nnU-Net 2.8 or later is needed ({error}): pip install "medlsam[nnunet]"', name=error.name
    ) from error

#: The folder that ``nnUNet_extTrainer`` has to list.
TRAINERS = Path(__file__).resolve().parent / "nnunet_trainers"
VARIABLE = "nnUNet_extTrainer"


class nnUNetTrainerInception(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801 - named as nnU-Net names trainers
    """MSWAL: ``InceptionUNet`` in the sizes of the plan, 1,500 epochs, learning rate 0.001 that falls linearly to 0.

    All else (preprocessing, patches, augmentation, loss, SGD, deep supervision) is nnU-Net's.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr, self.num_epochs = 1e-3, 1500

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Take nnU-Net's optimizer, with linear decay in place of its power of 0.9."""
        optimizer, _ = super().configure_optimizers()
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs, exponent=1.0)

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """Make the network of a 3D configuration; nnU-Net calls this in training and in prediction."""
        config = config_of_plans(configuration_manager.network_arch_init_kwargs, num_input_channels)
        return InceptionUNet(config, num_output_channels, enable_deep_supervision)


class nnUNetTrainerInceptionFineTune(nnUNetTrainerInception):  # noqa: N801
    """HCUCH's fine-tuning with our network: 300 epochs, learning rate 0.0001, for ``-pretrained_weights``.

    The paper changes these two only, so the rate falls as nnU-Net's does.
    """

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr, self.num_epochs = 1e-4, 300

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """Take nnU-Net's."""
        optimizers: tuple[torch.optim.Optimizer, Any] = nnUNetTrainer.configure_optimizers(self)
        return optimizers


class nnUNetTrainerFineTune(nnUNetTrainer):  # type: ignore[misc]  # noqa: N801
    """HCUCH's fine-tuning as it was done: nnU-Net's own network, 300 epochs, learning rate 0.0001."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr, self.num_epochs = 1e-4, 300


def list_trainers() -> None:
    """Let nnU-Net find the trainers, in this process and in those that it starts."""
    listed = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    if str(TRAINERS) not in listed:
        os.environ[VARIABLE] = os.pathsep.join([*listed, str(TRAINERS)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command of nnU-Net with our trainers; without one, print their folder.

    Raises:
        UsageError: no command of nnU-Net.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        print(TRAINERS)
        return
    found = [
        entry
        for entry in entry_points(group="console_scripts", name=given[0])
        if entry.value.startswith("nnunetv2.")
    ]
    if not found:
        raise UsageError(f"{given[0]!r} is no command of nnU-Net; give nnUNetv2_train, nnUNetv2_predict, ...")
    list_trainers()
    sys.argv = given
    found[0].load()()


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        raise SystemExit(f"error: {error}") from None
