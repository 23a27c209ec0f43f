"""What pretraining is fed with: the pool's scans as draws, shared among processes, drawn on their devices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import UsageError
from medlsam.localize.network.encoder import Encoder
from medlsam.localize.pretrain.balance import balanced_weights
from medlsam.localize.pretrain.datamodule import CTPool
from medlsam.localize.pretrain.dataset import (
    DrawBatch,
    DrawLoader,
    PairDraws,
    StepBatches,
)
from medlsam.localize.pretrain.torchio import ValueTransform, check_transforms

#: Validation draws per held-out scan.
VALIDATION_DRAWS = 4


class PretrainFeed(CTPool):
    """A ``CTPool`` for any number of processes.

    ``scans_per_step`` counts the scans of an optimisation step over all processes, which share them equally, so that
    one configuration trains the same on one GPU and on eight. Loader processes only plan views, and apply a user's
    transforms; views are drawn and augmented on the device.

    Args:
        balance: 0 draws scans as the sources' weights say, 1 draws every collection and region of the body equally
            often, as far as the pool knows them; between them a compromise.
        transforms: torchio transforms of the values of every training view, in HU, one after the other, before the
            changes of intensity that are made anyway; none by default. What moves voxels is refused.
        kwargs: see ``CTPool``.
    """

    def __init__(
        self, balance: float = 0.5, transforms: list[ValueTransform] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= balance <= 1:
            raise UsageError(f"data.balance must lie between 0 and 1, got {balance}")
        self.balance, self.transforms = balance, transforms or []
        check_transforms(self.transforms)

    @property
    def draw_weights(self) -> NDArray[np.float64]:
        """(N,) how often each training scan is drawn, relative."""
        return balanced_weights(self.weights, self.groups, self.balance)

    def train_dataloader(self) -> DrawLoader:
        """The next epoch's draws; made anew each epoch and where a run is resumed (the trainer asks for it)."""
        draws = PairDraws(
            self.training,
            self.draw_weights,
            self.views,
            self.spacing_mm,
            (self.seed, 2),
            transforms=self.transforms,
        )
        return self._draw_loader(draws, self._batches_done(), self.steps_per_epoch)

    def val_dataloader(self) -> DrawLoader:
        """Fixed draws from held-out scans, the same number for every process."""
        count = len(self.held_out)
        draws = PairDraws(
            self.held_out, np.ones(count), self.views, self.spacing_mm, (self.seed, 3), augmented=False
        )
        return self._draw_loader(draws, 0, -(-VALIDATION_DRAWS * count // self.scans_per_step))

    def on_after_batch_transfer(self, batch: DrawBatch, dataloader_idx: int) -> dict[str, Tensor]:
        """Draw and augment the views on the device, normalised as the encoder in training takes them."""
        assert self.trainer is not None, "a trainer calls this"
        encoder = self.trainer.lightning_module.encoder
        assert isinstance(encoder, Encoder), "what is trained is an encoder"
        rendered: dict[str, Tensor] = self.trainer.precision_plugin.convert_input(
            batch.render(encoder.config)
        )
        return rendered

    def check_share(self, world: int) -> None:
        """Refuse a step that ``world`` processes cannot share equally.

        Raises:
            UsageError: with both numbers.
        """
        if self.scans_per_step % world:
            raise UsageError(
                f"data.scans_per_step is {self.scans_per_step} for {world} processes, which share them: make it a"
                f" multiple of {world}"
            )

    def _batches_done(self) -> int:
        """Batches that training has seen, those before a resumed checkpoint included."""
        if self.trainer is None:
            return 0
        # Annotated as a tracker that counts less than this one does.
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]

    def _draw_loader(self, draws: PairDraws, first: int, steps: int) -> DrawLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        self.check_share(world)
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        batches = StepBatches(first, steps, self.scans_per_step, rank, world)
        return DrawLoader(draws, batches, self.num_workers, pinned=on_gpu)
