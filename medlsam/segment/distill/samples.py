"""Training crops of the student: a teacher's mask, a box that may be off, HU as scanners change them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import lightning
import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from medlsam.segment.distill.labels import STACK, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_samples import Sample, SampleSource


class Draws(IterableDataset[Sample]):
    """Crops without end; one depends on the seed and its number alone, so a resumed training sees the same.

    Attributes:
        first: number of the first crop.
    """

    def __init__(
        self, source: SampleSource, scans: Sequence[TaughtScan], seed: int, batch_size: int, first: int = 0
    ) -> None:
        self.source, self.scans, self.seed, self.batch_size = source, list(scans), seed, batch_size
        self.first = first

    def __iter__(self) -> Iterator[Sample]:
        # The loader takes a batch from each worker in turn.
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for batch in count(worker, workers):
            for number in range(self.batch_size):
                yield self.draw(self.first + batch * self.batch_size + number)

    def draw(self, number: int) -> Sample:
        """Draw a crop."""
        rng = np.random.default_rng([self.seed, 1, number])
        scan = self.scans[rng.integers(len(self.scans))]
        mask = scan.mask(scan.kept[rng.integers(len(scan.kept))])
        return self.source.mask_sample(scan.slab(mask.row), mask.pixels, 0, STACK // 2, rng)


class DrawsModule(lightning.LightningDataModule):
    """Gives the training its crops, from the step that it has reached."""

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
        """Load the crops of the coming steps."""
        assert self.trainer is not None
        size = self.options.batch_size
        draws = Draws(self.source, self.scans, self.options.seed, size, self.trainer.global_step * size)
        return DataLoader(draws, size, num_workers=self.options.workers)
