"""Training crops of the student: a teacher's mask, a box that may be off, HU as scanners change them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from medlsam.segment.distill.labels import STACK, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_samples import Sample, SampleSource


class Draws(IterableDataset[Sample]):
    """Crops without end; one depends on the seed and its number alone, so a resumed training sees the same.

    A crop has one more tensor than those of the ordinary training: ``keep``, whether its box is so vague that the
    student keeps to its own first answer.

    Attributes:
        first: number of the first crop.
    """

    def __init__(
        self, scans: Sequence[TaughtScan], net: TinyConfig, options: DistillOptions, first: int = 0
    ) -> None:
        self.scans, self.options, self.first = list(scans), options, first
        told = SamplingConfig(
            exact=options.exact, jittered=1 - options.exact, located_error_mm=net.located_error_mm
        )
        vague = replace(told, exact=0.0, jittered=0.0)
        self.taught, self.kept = (SampleSource([], net, sampling, {}) for sampling in (told, vague))

    def __iter__(self) -> Iterator[Sample]:
        # The loader takes a batch from each worker in turn.
        info, size = get_worker_info(), self.options.batch_size
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for batch in count(worker, workers):
            for number in range(size):
                yield self.draw(self.first + batch * size + number)

    def draw(self, number: int) -> Sample:
        """Draw a crop."""
        rng = np.random.default_rng([self.options.seed, 1, number])
        scan = self.scans[rng.integers(len(self.scans))]
        mask = scan.mask(scan.kept[rng.integers(len(scan.kept))])
        keep = bool(rng.random() < self.options.keep)
        source = self.kept if keep else self.taught
        rough = bool(rng.random() < source.sampling.prior)
        made = source.mask_sample(scan.slab(mask.row), mask.pixels, 0, STACK // 2, rng, rough)
        return {**made, "keep": torch.tensor(keep)}


class DrawsModule(lightning.LightningDataModule):
    """Gives the training its crops, from the step that it has reached."""

    def __init__(self, scans: Sequence[TaughtScan], net: TinyConfig, options: DistillOptions) -> None:
        super().__init__()
        self.scans, self.net, self.options = scans, net, options

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load the crops of the coming steps."""
        assert self.trainer is not None
        size = self.options.batch_size
        draws = Draws(self.scans, self.net, self.options, self.trainer.global_step * size)
        return DataLoader(draws, size, num_workers=self.options.workers)
