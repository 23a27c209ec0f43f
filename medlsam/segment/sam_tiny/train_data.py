"""What the training of ``sam-tiny`` loads: crops without end, and fixed ones that validate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
from torch.utils.data import DataLoader, Dataset

from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_arrays import build_arrays, load_arrays
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig
from medlsam.segment.sam_tiny.train_crop import Sample
from medlsam.segment.sam_tiny.train_samples import Hint, SampleSource, SampleStream

#: Kinds of prompts that validate: true slice boxes, jittered ones, boxes as wrong as located ones, these with other
#: patients' mean shape or with a point inside or outside, and masks that are nearly right with their boxes. As shares
#: of exact boxes, jittered ones, samples with points.
VALIDATION = {
    "exact": (1.0, 0.0, 0.0),
    "jittered": (0.0, 1.0, 0.0),
    "located": (0.0, 0.0, 0.0),
    "prior": (0.0, 0.0, 0.0),
    "points": (0.0, 0.0, 1.0),
    "rough": (0.0, 0.0, 0.0),
}


class _Fixed(Dataset[Sample]):
    """Samples drawn once."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


class TinyDataModule(lightning.LightningDataModule):
    """Training crops without end, and fixed validation crops of the held-out cases.

    Args:
        pool: folder of the training arrays.
        ct: folder of the scans that they are made from; the arrays are there already where None.
        net: as in ``TinyTraining``; only the sizes and windows matter.
        sampling: what is drawn.
        batch_size: crops a step.
        workers: processes that draw crops; 0 draws them in the training process.
        seed: of the draws.
        phantoms: how many phantoms to add.
        slices: how many slices of each held-out structure validate.
    """

    def __init__(
        self,
        pool: str,
        ct: str | None = None,
        net: TinyConfig | None = None,
        sampling: SamplingConfig | None = None,
        batch_size: int = 32,
        workers: int = 1,
        seed: int = 0,
        phantoms: int = 0,
        slices: int = 2,
    ) -> None:
        super().__init__()
        self.pool, self.ct = Path(pool), Path(ct) if ct else None
        self.net, self.sampling = net or TinyConfig(), sampling or SamplingConfig()
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.phantoms, self.slices = phantoms, slices

    def prepare_data(self) -> None:
        """Write the training arrays, where scans are given."""
        if self.ct is not None:
            build_arrays(self.ct, self.pool, self.phantoms)

    def setup(self, stage: str) -> None:
        """Open the training arrays and draw the validation crops."""
        cases = load_arrays(self.pool)
        trained = [case for case in cases if not case.held_out]
        self.source = SampleSource(trained, self.net, self.sampling)
        self.validation = {
            name: self._fixed(
                SampleSource(
                    [case for case in cases if case.held_out],
                    self.net,
                    replace(
                        self.sampling,
                        exact=exact,
                        jittered=jittered,
                        points=points,
                        leave_out=(),
                        intensity=False,
                        zoom=(self.net.zoom, self.net.zoom + 1e-6),
                        min_side_mm=(self.net.min_side_mm, self.net.min_side_mm),
                    ),
                    self.source.shapes,
                ),
                "prior" if name == "prior" else "rough" if name == "rough" else "none",
            )
            for name, (exact, jittered, points) in VALIDATION.items()
        }

    def _fixed(self, source: SampleSource, hint: Hint) -> _Fixed:
        rng = np.random.default_rng(self.seed)
        made = []
        for case in source.cases:
            for structure in case.structures:
                where = structure.where[0]
                places = np.linspace(where.start, where.stop - 1, self.slices + 2)[1:-1].round().astype(int)
                for index in places:
                    made.append(source.structure_sample(case, structure, 0, int(index), hint, rng))
        return _Fixed([sample for sample in made if sample is not None])

    def train_dataloader(self) -> DataLoader[Sample]:
        """Load training crops without end, from the step that was reached."""
        first = self.trainer.global_step * self.batch_size if self.trainer is not None else 0
        stream = SampleStream(self.source, self.seed, self.batch_size, first)
        return DataLoader(
            stream, self.batch_size, num_workers=self.workers, prefetch_factor=4 if self.workers else None
        )

    def val_dataloader(self) -> list[DataLoader[Sample]]:
        """Load the validation crops, one loader for each kind of prompts."""
        return [DataLoader(fixed, self.batch_size) for fixed in self.validation.values()]
