"""Training crops of the student: a teacher's mask, a box that may be off, HU as scanners change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from medlsam.segment.distill.labels import STACK, TaughtScan
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_crop import Sample
from medlsam.segment.sam_tiny.train_samples import NumberedDraws, SampleSource


class Draws(NumberedDraws):
    """Crops without end; one depends on the seed and its number alone, so a resumed training sees the same.

    A crop has one more tensor than those of the ordinary training: ``keep``, whether its box is so vague that the
    student keeps to its own first answer.
    """

    def __init__(
        self, scans: Sequence[TaughtScan], net: TinyConfig, options: DistillOptions, first: int = 0
    ) -> None:
        super().__init__(options.batch_size, first)
        self.scans, self.options = list(scans), options
        told = SamplingConfig(exact=options.exact, jittered=1 - options.exact)
        vague = replace(told, exact=0.0, jittered=0.0)
        self.taught, self.kept = (SampleSource([], net, sampling, {}) for sampling in (told, vague))

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
