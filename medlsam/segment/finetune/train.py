"""Training of the mask decoder on cached embeddings (Lightning), and the choice of the number of epochs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medlsam.errors import MedlsamError, UsageError
from medlsam.segment.finetune.embeddings import ComponentsToScore, EmbeddedScan, SlicesToTrain
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.segment.finetune.protocol import Drawn, Tuner
from medlsam.training.losses import hard_dice, mask_losses

_SCORED_TOGETHER = 16


class DecoderTuning(LightningModule):
    """Dice and cross-entropy of the masks, squared error of the expected IoU; AdamW on the decoder alone.

    Attributes:
        module: prompt encoder and decoder; only the decoder requires gradients.
        curve: after each validation, patient to mean Dice over components at the decoder's resolution.
    """

    def __init__(self, tuner: Tuner, options: FinetuneOptions, patients: Sequence[str] = ()) -> None:
        super().__init__()
        self.tuner, self.options, self.patients = tuner, options, list(patients)
        self.module: nn.Module = tuner.trainable()
        self.curve: list[dict[str, float]] = []
        self._scores: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Drawn, batch_idx: int) -> Tensor:
        """Compute the loss of some components."""
        logits, quality = self.tuner.decode(self.module, batch)
        return mask_losses(logits, quality, batch["target"])["loss"]

    def validation_step(self, batch: Drawn, batch_idx: int) -> None:
        """Collect the Dice of each component."""
        logits, _ = self.tuner.decode(self.module, batch)
        self._scores.append((batch["owner"].cpu(), hard_dice(logits, batch["target"]).float().cpu()))

    def on_validation_epoch_end(self) -> None:
        """Average over each patient's components."""
        owner, dice = (torch.cat(column) for column in zip(*self._scores, strict=True))
        self._scores.clear()
        self.curve.append({p: float(dice[owner == k].mean()) for k, p in enumerate(self.patients)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on the decoder, at a constant rate."""
        learning = [p for p in self.module.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            learning, lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )


@dataclass(frozen=True)
class Selection:
    """The result of leave-one-patient-out.

    Attributes:
        epochs: number with the best mean over the patients; 0 if every epoch is worse than the original weights.
        curve: mean over the patients after 0, 1, ... epochs.
        patients: patient to Dice (before, after ``epochs``), each scored by a decoder that never saw it.
    """

    epochs: int
    curve: tuple[float, ...]
    patients: dict[str, tuple[float, float]]


def select_epochs(
    tuner: Tuner,
    scans: Sequence[EmbeddedScan],
    options: FinetuneOptions,
    device: torch.device,
    say: Callable[[str], None],
) -> Selection:
    """Train without each patient (or group of patients) in turn, and score that one after every epoch.

    The paper keeps the best epoch of each fold and then the fold that does best on the test set. Here one number
    of epochs is chosen for all folds, so that no single patient and no test set decides.

    Raises:
        UsageError: fewer than two patients.
        MedlsamError: the training diverged.
    """
    patients = sorted({scan.patient for scan in scans})
    if len(patients) < 2:
        raise UsageError(
            f"leave-one-patient-out needs two patients to train on, there is {', '.join(patients) or 'none'}; add "
            "another patient's scan"
        )
    groups = np.array_split(np.array(patients), options.folds or len(patients))
    by_epoch: list[dict[str, float]] = [{} for _ in range(options.epochs + 1)]
    for number, group in enumerate(groups, start=1):
        if not len(group):
            continue  # more folds than patients
        left_out = set(group.tolist())
        say(f"fold {number} of {len(groups)}, without {', '.join(sorted(left_out))}")
        trained = train(
            tuner,
            [scan for scan in scans if scan.patient not in left_out],
            options.epochs,
            options,
            device,
            [scan for scan in scans if scan.patient in left_out],
        )
        for scores, found in zip(by_epoch, trained.curve, strict=True):
            scores.update(found)
    curve = tuple(float(np.mean(list(scores.values()))) for scores in by_epoch)
    best = int(np.argmax(curve))
    return Selection(best, curve, {p: (by_epoch[0][p], by_epoch[best][p]) for p in patients})


def train(
    tuner: Tuner,
    scans: Sequence[EmbeddedScan],
    epochs: int,
    options: FinetuneOptions,
    device: torch.device,
    validate_on: Sequence[EmbeddedScan] = (),
) -> DecoderTuning:
    """Train a decoder from the original weights.

    Args:
        tuner: the segmenter.
        scans: to train on.
        epochs: passes over all slices; with 0 the weights stay the original ones.
        options: of the training.
        device: to train on.
        validate_on: scans that are scored before the first and after every epoch.

    Raises:
        MedlsamError: the training diverged.
    """
    scored = ComponentsToScore(tuner, validate_on)
    trained = DecoderTuning(tuner, options, scored.patients)
    order = torch.Generator().manual_seed(options.seed)
    batches = DataLoader(
        SlicesToTrain(tuner, scans, options), options.batch_size, shuffle=True, generator=order
    )
    held_out = DataLoader(scored, _SCORED_TOGETHER) if len(scored) else None
    with quiet():
        trainer = Trainer(
            max_epochs=epochs,
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="32-true",  # the steps are small, and decoding is cheap
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if held_out is not None:
            trainer.validate(trained, held_out, verbose=False)
        if epochs:
            trainer.fit(trained, batches, held_out)
    if not all(bool(torch.isfinite(p).all()) for p in trained.module.parameters()):
        raise MedlsamError(
            f"fine-tuning diverged at learning_rate {options.learning_rate:g} (weights are not finite); lower it"
        )
    return trained


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says of its devices and loaders in every fold."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for usual in (
                "does not have many workers",
                "module.* in eval mode",
                "LeafSpec",
                "no `val_dataloader`",
                "Checkpoint directory .* exists",
            ):
                warnings.filterwarnings("ignore", message=f".*{usual}.*")
            yield
    finally:
        logger.setLevel(level)
