"""Self-supervised pretraining of the encoder: relative distances and multi-scale similarity."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import ArgsType
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.localize.network.encoder import (
    POSITION_STRIDE,
    Encoder,
    EncoderConfig,
    EncoderOutput,
    fast_layout,
    predicted_offset,
)
from medlsam.localize.network.read_encoder import read_encoder
from medlsam.localize.network.sampling import sample_map
from medlsam.localize.pretrain.datamodule import PretrainDataModule
from medlsam.localize.pretrain.losses import (
    mss_loss,
    rdr_loss,
    vote_error_loss,
    window_loss,
)
from medlsam.localize.pretrain.validation import MarkedPhantom, landmark_errors, marked_phantoms
from medlsam.training.cli import TrainingCLI
from medlsam.training.distributed import mean_over_processes
from medlsam.training.losses import valid_mean
from medlsam.training.schedule import warmup_cosine
from medlsam.weights.fetch import resolve
from medlsam.weights.store import save_weights


class MedLAMPretraining(LightningModule):
    """Trains an ``Encoder`` with both losses on view pairs from ``PretrainDataModule``.

    Args:
        encoder: the network's configuration.
        learning_rate: AdamW's peak; warm-up, then cosine to zero.
        weight_decay: AdamW's.
        warmup_steps: linear warm-up.
        mss_weight: weight of the mean MSS loss beside the RDR loss.
        temperatures: of the MSS softmax at the three scales, coarse to fine.
        radii_mm: nearer candidates are not negatives, at the three scales.
        window_weight: weight of the MSS loss over search windows (see ``window_loss``) beside the RDR loss.
        window_reach: half width of those windows, cells.
        window_points: points of each pair that get a window.
        window_temperature: of its softmax.
        rdr_points: further places of each view that take part in the RDR loss beside the common ones.
        vote_error_weight: weight of the vote error's loss, where the encoder predicts it.
        validation_phantoms: phantoms between which the landmark error is measured (0: none).
        initial_weights: name or file of the weights to start from, which also say how the network is built; a new
            network where None.
    """

    def __init__(
        self,
        encoder: EncoderConfig | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        mss_weight: float = 1.0,
        temperatures: tuple[float, float, float] = (0.1, 0.07, 0.07),
        radii_mm: tuple[float, float, float] = (24.0, 12.0, 8.0),
        window_weight: float = 0.0,
        window_reach: int = 4,
        window_points: int = 64,
        window_temperature: float = 0.05,
        rdr_points: int = 0,
        vote_error_weight: float = 0.1,
        validation_phantoms: int = 3,
        initial_weights: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = fast_layout(_beginning(encoder, initial_weights))
        self.learning_rate, self.weight_decay, self.warmup_steps = learning_rate, weight_decay, warmup_steps
        self.mss_weight, self.temperatures, self.radii_mm = mss_weight, temperatures, radii_mm
        self.window_weight, self.window_reach = window_weight, window_reach
        self.window_points, self.window_temperature = window_points, window_temperature
        self.rdr_points, self.vote_error_weight = rdr_points, vote_error_weight
        self.validation_phantoms = validation_phantoms

    @property
    def range_mm(self) -> Tensor:
        """(3,) r of equation 2, (x, y, z), where the module is."""
        return torch.tensor(self.encoder.config.range_mm, device=self.device)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Both losses of a batch of B view pairs.

        Args:
            batch: of ``PairBatch.render``.

        Returns:
            Scalars. With several processes their means over processes are the losses of the whole step.
        """
        count = batch["views"].shape[0]
        output: EncoderOutput = self.encoder(batch["views"].flatten(0, 1)[:, None])
        losses = self._position_losses(output, batch)
        points = batch["points"].flatten(0, 1)
        everywhere = torch.cat([points, batch["negatives"].flatten(0, 1)], dim=1)
        windows = []
        strides = self.encoder.config.feature_strides
        for level, stride in enumerate(strides):
            features = sample_map(output.features[level], everywhere, stride)
            features = torch.nn.functional.normalize(features, dim=-1).unflatten(0, (count, 2))
            maps = output.features[level].unflatten(0, (count, 2))
            total = torch.zeros((), device=features.device)
            for one, other in ((0, 1), (1, 0)):
                anchors = features[:, one, : points.shape[1]]
                total = total + mss_loss(
                    anchors,
                    features[:, other],
                    batch["places"],
                    torch.cat([batch["places"], batch["negative_places"][:, other]], dim=1),
                    self.temperatures[level],
                    self.radii_mm[level],
                    batch["valid"],
                )
                if self.window_weight and level:
                    some = slice(0, self.window_points)
                    where = (batch["points"][:, other, some] - (stride - 1) / 2) / stride
                    windows.append(
                        window_loss(
                            anchors[:, some],
                            maps[:, other],
                            where,
                            batch["valid"][:, some],
                            batch["window_chance"][:, one, some],
                            self.window_temperature,
                            self.window_reach,
                        )
                    )
            losses[f"mss{stride}"] = total / 2
        losses["loss"] = (
            losses["rdr"]
            + self.mss_weight * torch.stack([losses[f"mss{stride}"] for stride in strides]).mean()
        )
        if windows:
            losses["window"] = torch.stack(windows).mean()
            losses["loss"] = losses["loss"] + self.window_weight * losses["window"]
        if "vote_error" in losses:
            losses["loss"] = losses["loss"] + self.vote_error_weight * losses["vote_error"]
        return losses

    def _position_losses(self, output: EncoderOutput, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute RDR over all pairs of the common and further places of both views, and the vote error's loss."""
        count, more = batch["views"].shape[0], self.rdr_points
        points = torch.cat([batch["points"], batch["negatives"][:, :, :more]], dim=2).flatten(0, 1)
        places = torch.cat(
            [
                torch.cat([batch["places"], batch["negative_places"][:, view, :more]], dim=1)
                for view in (0, 1)
            ],
            dim=1,
        )
        real = torch.ones(count, more, dtype=torch.bool, device=points.device)
        valid = torch.cat([batch["valid"], real], dim=1).repeat(1, 2)
        latents = sample_map(output.positions, points, POSITION_STRIDE).reshape(count, -1, 3)
        losses = {"rdr": rdr_loss(latents, places, self.range_mm, valid)}
        if output.vote_error is not None:
            width = sample_map(output.vote_error, points, POSITION_STRIDE).reshape(count, -1)
            losses["vote_error"] = vote_error_loss(latents, width, places, self.range_mm, valid)
        return losses

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Compute the loss of one step; log its parts as means over all processes."""
        losses = self.losses(batch)
        # One message for all of them; Lightning by itself sends one for each.
        means = mean_over_processes(torch.stack(list(losses.values())))
        self.log_dict({f"train/{name}": value for name, value in zip(losses, means, strict=True)})
        return losses["loss"]

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Log the losses on held-out scans, and the error of RDR's offsets between the two views in mm."""
        losses = self.losses(batch)
        size = batch["views"].shape[0]
        self.log_dict(
            {f"val/{name}": value for name, value in losses.items()}, batch_size=size, sync_dist=True
        )
        output: EncoderOutput = self.encoder(batch["views"].flatten(0, 1)[:, None])
        latents = sample_map(output.positions, batch["points"].flatten(0, 1), POSITION_STRIDE)
        first, second = latents.unflatten(0, (size, 2)).unbind(1)
        offset = predicted_offset(first, second.roll(1, dims=1), self.range_mm)
        error = (offset - (batch["places"].roll(1, dims=1) - batch["places"])).norm(dim=-1)
        valid = batch["valid"] & batch["valid"].roll(1, dims=1)
        self.log("val/offset_error_mm", valid_mean(error, valid), batch_size=size, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Log the landmark error between individuals: extreme points of one phantom located in another."""
        if self.validation_phantoms < 2 or self.trainer.sanity_checking:
            return
        # Every process computes it: the others would have to wait anyway.
        coarse, fine = self.landmark_errors()
        self.log("val/landmark_coarse_mm", coarse)
        self.log("val/landmark_mm", fine, prog_bar=True)

    def landmark_errors(self) -> tuple[float, float]:
        """Measure ``validation.landmark_errors`` between the validation phantoms."""
        return landmark_errors(self._validation_set, self.encoder, self.device)

    @cached_property
    def _validation_set(self) -> list[MarkedPhantom]:
        """The phantoms and their extreme points, drawn once."""
        return marked_phantoms(self.validation_phantoms, self.encoder.config.spacing_mm)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and cosine decay over the planned steps."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        return warmup_cosine(optimizer, self.warmup_steps, total)

    def export(self, path: Path) -> None:
        """Save the encoder with its configuration inside (float16), as ``--localizer`` takes it."""
        save_weights(path, self.encoder.state_dict(), asdict(self.encoder.config), "localizer", half=True)


def _beginning(config: EncoderConfig | None, initial_weights: str | None) -> Encoder:
    """Make the network that training begins with.

    Raises:
        UsageError: the configuration describes another network than the weights.
        WeightsError: the weights cannot be read.
    """
    if not initial_weights:
        return Encoder(config)
    encoder = read_encoder(resolve(initial_weights, "localizer"))
    own, wanted = asdict(encoder.config), asdict(config or encoder.config)
    for name, value in wanted.items():
        if own[name] != value:
            raise UsageError(
                f"model.encoder.{name} is {value}, but {initial_weights} was trained with {own[name]}; leave "
                "model.encoder out, then the weights say it"
            )
    return encoder


def cli(args: ArgsType = None, *, run: bool = True) -> TrainingCLI:
    """Run ``medlsam pretrain``: fit, validate, ``--print_config``; see ``TrainingCLI``."""
    return TrainingCLI(
        MedLAMPretraining,
        PretrainDataModule,
        args,
        run=run,
        weights_name="encoder.safetensors",
        trainer_defaults={
            "reload_dataloaders_every_n_epochs": 1,
            "use_distributed_sampler": False,
            "sync_batchnorm": True,
        },
    )


if __name__ == "__main__":
    cli(sys.argv[1:])
