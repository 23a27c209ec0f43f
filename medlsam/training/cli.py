"""The command line of every training: LightningCLI, with what training on this machine needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.cli import ArgsType, LightningCLI

from medlsam.runtime.device import lightning_precision, resolve_device
from medlsam.training.slurm import RequeueBetweenSteps, slurm_environment


class TrainingCLI(LightningCLI):
    """``fit``, ``validate`` and ``--print_config`` of a module and its data; see LightningCLI.

    Where the configuration leaves ``trainer.precision`` open, it is bf16 on devices that are fast at that, else
    float32. In a SLURM job that runs out of time, the training is saved between two steps and the job requeued.

    Args:
        module: what is trained.
        data: what it is trained on.
        args: of the command line; ``sys.argv`` where None.
        weights_name: file beside the logs to which ``module.export(path)`` writes the weights when training ends;
            None for no file.
        trainer_defaults: of the trainer, where the configuration says nothing else.
        run: False makes everything and runs nothing.
    """

    def __init__(
        self,
        module: type[LightningModule],
        data: type[LightningDataModule],
        args: ArgsType = None,
        *,
        weights_name: str | None = None,
        trainer_defaults: dict[str, Any] | None = None,
        run: bool = True,
    ) -> None:
        # Last but for checkpoints, which Lightning puts last: after everything that changes weights.
        callbacks: list[Callback] = [RequeueBetweenSteps()]
        if weights_name is not None:
            callbacks.append(ExportWeights(weights_name))
        super().__init__(
            module,
            data,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={**(trainer_defaults or {}), "callbacks": callbacks},
            seed_everything_default=0,
            args=args,
            run=run,
        )

    def before_instantiate_classes(self) -> None:
        """Fill in ``trainer.precision`` where the configuration leaves it open."""
        trainer = self.config[self.subcommand].trainer if self.subcommand else self.config.trainer
        if trainer.precision is None:
            device = resolve_device("cpu" if trainer.accelerator == "cpu" else "auto")
            trainer.precision = lightning_precision("auto", device)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer, with SLURM's environment beside the configuration's plugins where a job runs."""
        plugins = self._get(self.config_init, "trainer", default={}).get("plugins") or []
        plugins = list(plugins) if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins += slurm_environment()
        return super().instantiate_trainer(plugins=plugins, **kwargs)


class ExportWeights(Callback):
    """Writes the weights file beside the logs when training has ended; ``name`` is the file's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Let the first process write."""
        folder = trainer.log_dir  # a broadcast from the first process: all have to take part
        if trainer.is_global_zero and folder:
            pl_module.export(Path(folder) / self.name)
