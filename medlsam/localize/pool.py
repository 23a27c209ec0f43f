"""The pretraining pool: unlabelled scans and phantoms at the encoder's spacing, read as view pairs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from medlsam.errors import UsageError
from medlsam.files import atomic_path
from medlsam.inputs import find_cases, read_case_list
from medlsam.localize.augment import augment, intensity_augmentation
from medlsam.localize.encoder import EncoderConfig, normalise_hu
from medlsam.localize.views import AIR_HU, ViewOptions, collate, draw_pair
from medlsam.phantom import phantom
from medlsam.volume import Volume, lps_grid, read_volume, resample

#: Phantoms of the pool have seeds from here on; validation phantoms from the other. Tests and the demo stay below.
POOL_PHANTOM_SEED = 100_000
VALIDATION_PHANTOM_SEED = 200_000
_REGIONS = ("body", "head-neck", "thorax", "abdomen", "pelvis")


@dataclass
class PoolSource:
    """A folder of scans, as ``--images`` takes it. Labels are never looked at.

    Attributes:
        path: the folder.
        weight: share of the draws among all sources (relative).
        cases: ``FILE.json`` or ``FILE.json:key``, a list of case names to keep; all where None.
        exclude: case names to leave out.
    """

    path: str
    weight: float = 1.0
    cases: str | None = None
    exclude: list[str] = field(default_factory=list)


def _tag(path: Path) -> str:
    """Eight characters that tell scans of the same name in different folders apart."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]


class ViewPairs(Dataset[dict[str, Tensor]]):
    """View pairs drawn from scans; item ``i`` of an epoch depends on (seed, epoch, i) alone."""

    def __init__(
        self,
        scans: list[Path],
        weights: np.ndarray,
        length: int,
        options: ViewOptions,
        spacing_mm: float,
        seed: tuple[int, ...],
        augmented: bool = True,
    ) -> None:
        self.scans, self.weights, self.length = scans, weights / weights.sum(), length
        self.options, self.spacing_mm, self.seed = options, spacing_mm, seed
        self.transform = intensity_augmentation() if augmented else None
        self.config = EncoderConfig(spacing_mm=spacing_mm)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index >= self.length:
            raise IndexError(index)
        rng = np.random.default_rng([*self.seed, index])
        path = self.scans[int(rng.choice(len(self.scans), p=self.weights))]
        scan = torch.from_numpy(np.load(path, mmap_mode="r").astype(np.float32))
        pair = draw_pair(scan, self.spacing_mm, self.options, rng)
        views = normalise_hu(pair.views, self.config)
        if self.transform is not None:
            views = augment(views, self.transform, rng)
        return collate([pair]) | {"views": views[None]}


def _stack(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


class CTPool(LightningDataModule):
    """Unlabelled CT and phantoms for pretraining.

    ``prepare_data`` resamples every scan once and keeps it as int16 ``.npy`` under ``cache``.

    Args:
        sources: where the scans are.
        cache: folder for the resampled scans; may be deleted at any time.
        phantoms: number of phantoms in the pool.
        phantom_weight: their share of the draws, relative to the sources' weights.
        validation_scans: scans held out of training for the validation figure.
        scans_per_step: scans per optimisation step; each gives two views.
        steps_per_epoch: optimisation steps between checkpoints.
        views: how views are drawn.
        spacing_mm: isotropic spacing; must be the encoder's.
        seed: of every draw.
        num_workers: loader processes.
    """

    def __init__(
        self,
        sources: list[PoolSource] | None = None,
        cache: str = ".pool/encoder",
        phantoms: int = 0,
        phantom_weight: float = 0.2,
        validation_scans: int = 4,
        scans_per_step: int = 3,
        steps_per_epoch: int = 100,
        views: ViewOptions | None = None,
        spacing_mm: float = 4.0,
        seed: int = 0,
        num_workers: int = 1,
    ) -> None:
        super().__init__()
        self.sources = sources or []
        self.cache = Path(cache)
        self.phantoms, self.phantom_weight = phantoms, phantom_weight
        self.validation_scans = validation_scans
        self.scans_per_step, self.steps_per_epoch = scans_per_step, steps_per_epoch
        self.views = views or ViewOptions()
        self.spacing_mm, self.seed, self.num_workers = spacing_mm, seed, num_workers
        if not self.sources and not phantoms:
            raise UsageError("the pool is empty: give data.sources, or data.phantoms > 0")

    def _store(self, name: str, volume: Volume) -> None:
        grid = lps_grid(volume.grid, (self.spacing_mm,) * 3)
        array = np.rint(resample(volume, grid, fill=AIR_HU).array)
        with atomic_path(self.cache / name) as temporary, open(temporary, "wb") as file:
            np.save(file, np.clip(array, -1024, 3071).astype(np.int16))

    def _plan(self) -> list[tuple[str, float, Path | int]]:
        """(file name in the cache, weight, scan or phantom seed) of every member of the pool."""
        plan: list[tuple[str, float, Path | int]] = []
        for source in self.sources:
            keep = set(read_case_list(source.cases)) if source.cases else None
            cases = [
                case
                for case in find_cases(Path(source.path))
                if case.name not in source.exclude and (keep is None or case.name in keep)
            ]
            if not cases:
                raise UsageError(
                    f"{source.path}: no scan is left after cases={source.cases}, exclude={source.exclude}"
                )
            plan += [
                (
                    f"{_tag(case.path)}-{case.name}-{self.spacing_mm:g}mm.npy",
                    source.weight / len(cases),
                    case.path,
                )
                for case in cases
            ]
        for i in range(self.phantoms):
            name = f"phantom-{POOL_PHANTOM_SEED + i}-{self.spacing_mm:g}mm.npy"
            plan.append((name, self.phantom_weight / self.phantoms, POOL_PHANTOM_SEED + i))
        return plan

    def prepare_data(self) -> None:
        """Resample what is not in the cache yet."""
        self.cache.mkdir(parents=True, exist_ok=True)
        for name, _, source in self._plan():
            if (self.cache / name).exists():
                continue
            if isinstance(source, Path):
                self._store(name, read_volume(source))
            else:
                region = _REGIONS[source % len(_REGIONS)]
                made = phantom(seed=source, spacing_xyz=(self.spacing_mm,) * 3, region=region)
                self._store(name, made.image)

    def setup(self, stage: str | None = None) -> None:
        """Split the pool into training and validation scans (by the seed; phantoms stay in training)."""
        plan = self._plan()
        real = [i for i, entry in enumerate(plan) if isinstance(entry[2], Path)]
        rng = np.random.default_rng([self.seed, 1])
        held = (
            set(rng.permutation(real)[: min(self.validation_scans, len(real) - 1)].tolist())
            if real
            else set()
        )
        train = [entry for i, entry in enumerate(plan) if i not in held]
        self.training = [self.cache / name for name, _, _ in train]
        self.weights = np.array([weight for _, weight, _ in train])
        self.held_out = [self.cache / plan[i][0] for i in sorted(held)] or self.training[:1]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """One epoch's view pairs; drawn anew each epoch (the trainer reloads it)."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        pairs = ViewPairs(
            self.training,
            self.weights,
            self.steps_per_epoch * self.scans_per_step,
            self.views,
            self.spacing_mm,
            (self.seed, 2, epoch),
        )
        return self._loader(pairs)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Fixed view pairs of held-out scans."""
        count = len(self.held_out)
        pairs = ViewPairs(
            self.held_out,
            np.ones(count),
            4 * count,
            self.views,
            self.spacing_mm,
            (self.seed, 3),
            augmented=False,
        )
        return self._loader(pairs)

    def _loader(self, pairs: ViewPairs) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            pairs,
            batch_size=self.scans_per_step,
            collate_fn=_stack,
            num_workers=self.num_workers,
            prefetch_factor=4 if self.num_workers else None,
        )
