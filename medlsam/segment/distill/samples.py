"""Training crops of the student: a teacher's mask, a box that may be off, HU as scanners change them."""

from __future__ import annotations

from collections.abc import Sequence

import lightning
import numpy as np
from torch.utils.data import DataLoader, Dataset

from medlsam.segment.distill.labels import STACK, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_samples import Sample, SampleSource

#: Steps between two checkpoints. Even: every other batch comes with points.
EPOCH = 50


class Draws(Dataset[Sample]):
    """Crops of one epoch; a crop depends on the seed and its number alone, so a resumed training sees the same."""

    def __init__(
        self, source: SampleSource, scans: Sequence[TaughtScan], seed: int, first: int, count: int
    ) -> None:
        self.source, self.scans, self.seed, self.first, self.count = source, list(scans), seed, first, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, 1, self.first + index])
        scan = self.scans[rng.integers(len(self.scans))]
        mask = scan.mask(scan.kept[rng.integers(len(scan.kept))])
        return self.source.mask_sample(scan.slab(mask.row), mask.pixels, 0, STACK // 2, rng)


class DrawsModule(lightning.LightningDataModule):
    """Gives every epoch its own crops."""

    def __init__(self, scans: Sequence[TaughtScan], net: TinyConfig, options: DistillOptions) -> None:
        super().__init__()
        self.scans, self.options = scans, options
        sampling = SamplingConfig(
            exact=options.exact,
            # as many jittered boxes as ones that are as wrong as located ones
            jittered=(1 - options.exact) / 2,
            located_error_mm=net.located_error_mm,
        )
        self.source = SampleSource([], net, sampling, {})

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load the crops of the present epoch."""
        assert self.trainer is not None
        count = EPOCH * self.options.batch_size
        draws = Draws(self.source, self.scans, self.options.seed, self.trainer.current_epoch * count, count)
        return DataLoader(draws, self.options.batch_size, num_workers=self.options.workers)
