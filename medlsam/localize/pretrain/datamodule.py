"""What pretraining draws from: pools of ``medlsam pool build``, raw scans and phantoms, read as view pairs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lightning import LightningDataModule

from medlsam.errors import UsageError, VolumeError
from medlsam.io.cases import find_cases
from medlsam.io.label_names import read_case_list
from medlsam.io.read import read_volume
from medlsam.localize.pretrain.balance import Group
from medlsam.localize.pretrain.view_pairs import ViewOptions
from medlsam.phantoms import phantom
from medlsam.pool.packed_scan import SUFFIX, write_packed_scan
from medlsam.pool.preprocess import prepare
from medlsam.pool.reader import Pool, is_pool

#: Phantoms of the pool have seeds from here on; validation phantoms from the other. Tests and the demo stay below.
POOL_PHANTOM_SEED = 100_000
VALIDATION_PHANTOM_SEED = 200_000
_REGIONS = ("body", "head-neck", "thorax", "abdomen", "pelvis")


@dataclass
class PoolSource:
    """A pool of ``medlsam pool build``, or a folder of raw scans as ``--images`` takes it.

    Labels are never looked at.

    Attributes:
        path: the folder.
        weight: share of the draws among all sources (relative).
        cases: ``FILE.json`` or ``FILE.json:key``, a list of case names to keep; all where None. Scans of a pool go by
            their case or their name.
        exclude: case names to leave out.
    """

    path: str
    weight: float = 1.0
    cases: str | None = None
    exclude: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Member:
    """One scan to draw from.

    Attributes:
        shard: its file.
        weight: its share of the draws (relative).
        origin: the raw scan or the seed of the phantom that the shard is made from; None where a pool holds it.
        group: the collection and the region of the body, where the pool says them.
    """

    shard: Path
    weight: float
    origin: Path | int | None = None
    group: Group | None = None


#: Names that a scan goes by, its shard, what that is made from, and its group.
_Entry = tuple[set[str], Path, Path | int | None, Group | None]


def _tag(path: Path) -> str:
    """Eight characters that tell scans of the same name in different folders apart."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]


class CTPool(LightningDataModule):
    """Unlabelled CT and phantoms for pretraining.

    Pools are read where they lie; ``prepare_data`` makes a shard of every raw scan and phantom under ``cache``.

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

    def _members(self) -> list[Member]:
        members: list[Member] = []
        for source in self.sources:
            keep = set(read_case_list(source.cases)) if source.cases else None
            entries = self._of_pool(source) if is_pool(source.path) else self._of_raw(source)
            chosen = [
                (shard, origin, group)
                for names, shard, origin, group in entries
                if not names & set(source.exclude) and (keep is None or names & keep)
            ]
            if not chosen:
                raise UsageError(
                    f"{source.path}: no scan is left after cases={source.cases}, exclude={source.exclude}"
                )
            share = source.weight / len(chosen)
            members += [Member(shard, share, origin, group) for shard, origin, group in chosen]
        for i in range(self.phantoms):
            seed = POOL_PHANTOM_SEED + i
            members.append(Member(self._cached(f"phantom-{seed}"), self.phantom_weight / self.phantoms, seed))
        return members

    def _of_pool(self, source: PoolSource) -> list[_Entry]:
        """What a pool holds."""
        pool = Pool(source.path)
        if pool.spacing_mm != self.spacing_mm:
            raise UsageError(
                f"{source.path}: this pool is of {pool.spacing_mm:g} mm, the encoder of {self.spacing_mm:g} mm; "
                f"build one with --spacing {self.spacing_mm:g}"
            )
        return [
            ({row.case, row.name}, pool.path(n), None, (row.collection, ", ".join(row.regions)))
            for n, row in enumerate(pool.rows)
        ]

    def _of_raw(self, source: PoolSource) -> list[_Entry]:
        """The scans of a folder; what they show is not known."""
        return [
            ({case.name}, self._cached(f"{_tag(case.path)}-{case.name}"), case.path, None)
            for case in find_cases(Path(source.path))
        ]

    def _cached(self, name: str) -> Path:
        return self.cache / f"{name}-{self.spacing_mm:g}mm{SUFFIX}"

    def prepare_data(self) -> None:
        """Make the shards that are not in the cache yet."""
        for member in self._members():
            if member.origin is None or member.shard.exists():
                continue
            if isinstance(member.origin, Path):
                volume = read_volume(member.origin)
            else:
                region = _REGIONS[member.origin % len(_REGIONS)]
                volume = phantom(member.origin, (self.spacing_mm,) * 3, region).image
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
        self.weights = np.array([member.weight for member in train])
        self.groups = [member.group for member in train]
        self.held_out = [members[i].shard for i in sorted(held)] or self.training[:1]
