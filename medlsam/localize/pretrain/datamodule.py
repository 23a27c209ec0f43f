"""Pretraining's data module: pools, raw scans and phantoms, shared among processes and drawn on their devices."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from medlsam.errors import UsageError, VolumeError
from medlsam.io.cases import Case, find_cases, read_case
from medlsam.io.label_names import read_case_list
from medlsam.localize.network.encoder import Encoder
from medlsam.localize.pretrain.dataset import PairBatch, PairDataset, PairLoader, StepSampler
from medlsam.localize.pretrain.intensity import IntensityOptions
from medlsam.localize.pretrain.member import Member, partners
from medlsam.localize.pretrain.pool_source import PoolSource
from medlsam.localize.pretrain.sampling_weights import Group, balanced_weights, patient_weights
from medlsam.localize.pretrain.torchio import ValueTransform, check_transforms
from medlsam.localize.pretrain.view_pairs import ViewOptions
from medlsam.phantoms import phantom
from medlsam.phantoms.person import Enhancement
from medlsam.pool.packed_scan import SUFFIX, write_packed_scan
from medlsam.pool.preprocess import prepare
from medlsam.pool.reader import Pool, is_pool

#: Phantoms of the pool have seeds from here on; validation phantoms from the other. Tests and the demo stay below.
POOL_PHANTOM_SEED = 100_000
VALIDATION_PHANTOM_SEED = 200_000
#: Validation pairs per held-out scan.
VALIDATION_PAIRS = 4
_REGIONS = ("body", "head-neck", "thorax", "abdomen", "pelvis")


#: A scan's names (that of its case first), its shard, the origin of that, and its group.
_Entry = tuple[tuple[str, ...], Path, Case | int | None, Group | None]


def _tag(path: Path) -> str:
    """Tell scans of the same name in different folders apart, by eight characters."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]


class PretrainDataModule(LightningDataModule):
    """View pairs of unlabelled CT and phantoms, for any number of processes.

    Pools are read where they lie; ``prepare_data`` makes a shard of every raw scan and phantom under ``cache``.
    ``scans_per_step`` counts the scans of an optimisation step over all processes, which share them equally, so that
    one configuration trains the same on one GPU and on eight. Loader processes only plan views, and apply a user's
    transforms; views are drawn and augmented on the device.

    Args:
        sources: where the scans are.
        cache: folder for the shards of raw scans and phantoms; may be deleted at any time.
        phantoms: number of phantoms in the pool.
        phantom_weight: their share of the draws, relative to the sources' weights.
        validation_scans: scans held out of training for the validation figure.
        scans_per_step: scans per optimisation step; each gives two views.
        steps_per_epoch: optimisation steps between checkpoints.
        views: how views are drawn.
        spacing_mm: isotropic spacing; must be the encoder's.
        seed: of every draw.
        num_workers: loader processes.
        balance: 0 draws scans as the sources' weights say, 1 draws every collection and region of the body equally
            often, as far as the pool knows them; between them a compromise.
        transforms: torchio transforms of the values of every training view, in HU, one after the other, before the
            usual changes of intensity; none by default. Transforms that move voxels are refused.
        intensity: changes of values of training views beyond gamma, blur and noise.
        phase_probability: chance that the second view of a training scan in a source's ``phases`` shows another scan
            of its group.
        phantom_enhancement: how phantoms take up contrast, see ``phantom``: "one" share for all structures, or "each"
            its own.
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
        balance: float = 0.5,
        transforms: list[ValueTransform] | None = None,
        intensity: IntensityOptions | None = None,
        phase_probability: float = 0.5,
        phantom_enhancement: Enhancement = "one",
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
        if not 0 <= balance <= 1:
            raise UsageError(f"data.balance must lie between 0 and 1, got {balance}")
        self.balance, self.transforms = balance, transforms or []
        self.intensity, self.phase_probability = intensity or IntensityOptions(), phase_probability
        self.phantom_enhancement = phantom_enhancement
        check_transforms(self.transforms)

    def _members(self) -> list[Member]:
        members: list[Member] = []
        for number, source in enumerate(self.sources):
            keep = set(read_case_list(source.cases)) if source.cases else None
            entries = self._from_pool(source) if is_pool(source.path) else self._from_folder(source)
            phases = source.phase_of(names for names, *_ in entries)
            chosen = [
                entry
                for entry in entries
                if not set(source.exclude).intersection(entry[0])
                and (keep is None or keep.intersection(entry[0]))
            ]
            if not chosen:
                raise UsageError(
                    f"{source.path}: no scan is left after cases={source.cases}, exclude={source.exclude}"
                )
            share = source.weight / len(chosen)
            patients = source.patient_of([names[0] for names, *_ in chosen])
            for (names, shard, origin, group), name in zip(chosen, patients, strict=True):
                phase = min(((number, phases[one]) for one in names if one in phases), default=None)
                patient = None if name is None else (number, name)
                members.append(Member(shard, share, origin, group, phase, patient))
        kind = "" if self.phantom_enhancement == "one" else "-each"
        for i in range(self.phantoms):
            seed = POOL_PHANTOM_SEED + i
            shard = self._cached(f"phantom-{seed}{kind}")
            members.append(Member(shard, self.phantom_weight / self.phantoms, seed))
        return members

    def _from_pool(self, source: PoolSource) -> list[_Entry]:
        """List the scans of a pool."""
        pool = Pool(source.path)
        if pool.spacing_mm != self.spacing_mm:
            raise UsageError(
                f"{source.path}: this pool is of {pool.spacing_mm:g} mm, the encoder of {self.spacing_mm:g} mm; "
                f"build one with --spacing {self.spacing_mm:g}"
            )
        return [
            ((row.case, row.name), pool.path(n), None, (row.collection, ", ".join(row.regions)))
            for n, row in enumerate(pool.rows)
        ]

    def _from_folder(self, source: PoolSource) -> list[_Entry]:
        """List the scans of a folder; their regions are not known."""
        return [
            ((case.name,), self._cached(f"{_tag(case.path)}-{case.name}"), case, None)
            for case in find_cases(Path(source.path))
        ]

    def _cached(self, name: str) -> Path:
        return self.cache / f"{name}-{self.spacing_mm:g}mm{SUFFIX}"

    def prepare_data(self) -> None:
        """Make the shards that are not in the cache yet."""
        for member in self._members():
            if member.origin is None or member.shard.exists():
                continue
            if isinstance(member.origin, Case):
                volume = read_case(member.origin)
            else:
                region = _REGIONS[member.origin % len(_REGIONS)]
                volume = phantom(
                    member.origin, (self.spacing_mm,) * 3, region, enhancement=self.phantom_enhancement
                ).image
            scan = prepare(volume, self.spacing_mm)
            if scan is None:
                raise VolumeError(f"{volume.path}: holds nothing but air; leave it out with exclude")
            write_packed_scan(member.shard, scan)

    def setup(self, stage: str | None = None) -> None:
        """Split the pool into training and validation scans (by the seed; phantoms stay in training)."""
        members = self._members()
        real = [i for i, member in enumerate(members) if not isinstance(member.origin, int)]
        rng = np.random.default_rng([self.seed, 1])
        held = (
            set(rng.permutation(real)[: min(self.validation_scans, len(real) - 1)].tolist())
            if real
            else set()
        )
        train = [member for i, member in enumerate(members) if i not in held]
        self.training = [member.shard for member in train]
        # After the split: a patient of whom a scan is held out counts as much as the others.
        self.weights = patient_weights(
            np.array([member.weight for member in train]), [member.patient for member in train]
        )
        self.groups = [member.group for member in train]
        self.partners = partners(train)
        self.held_out = [members[i].shard for i in sorted(held)] or self.training[:1]

    @property
    def sampling_weights(self) -> NDArray[np.float64]:
        """(N,) relative frequency of each training scan."""
        return balanced_weights(self.weights, self.groups, self.balance)

    def train_dataloader(self) -> PairLoader:
        """Load the next epoch's pairs; the trainer calls this at each epoch and where a run is resumed."""
        pairs = PairDataset(
            self.training,
            self.sampling_weights,
            self.views,
            self.spacing_mm,
            (self.seed, 2),
            transforms=self.transforms,
            intensity=self.intensity,
            partners=self.partners,
            phase_probability=self.phase_probability,
        )
        return self._loader(pairs, self._batches_done(), self.steps_per_epoch)

    def val_dataloader(self) -> PairLoader:
        """Load fixed pairs of held-out scans, the same number in every process."""
        count = len(self.held_out)
        pairs = PairDataset(
            self.held_out, np.ones(count), self.views, self.spacing_mm, (self.seed, 3), augmented=False
        )
        return self._loader(pairs, 0, -(-VALIDATION_PAIRS * count // self.scans_per_step))

    def on_after_batch_transfer(self, batch: PairBatch, dataloader_idx: int) -> dict[str, Tensor]:
        """Draw and augment the views on the device, normalised for the encoder in training."""
        assert self.trainer is not None, "a trainer calls this"
        encoder = self.trainer.lightning_module.encoder
        assert isinstance(encoder, Encoder), "this data trains an encoder"
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
        """Count the batches that training has seen, also those before a resumed checkpoint."""
        if self.trainer is None:
            return 0
        # Lightning annotates it as a tracker that counts less.
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]

    def _loader(self, pairs: PairDataset, first: int, steps: int) -> PairLoader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        self.check_share(world)
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        batches = StepSampler(first, steps, self.scans_per_step, rank, world)
        return PairLoader(pairs, batches, self.num_workers, pinned=on_gpu)
