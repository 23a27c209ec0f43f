"""View pairs as a dataset: pair i of step t depends on (seed, t, i) alone.

So the number of processes that share a step, the number of workers that load it, and where a run was broken off and
resumed do not matter: the same step trains on the same views.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medlsam.localize.network.encoder import EncoderConfig, normalise_hu
from medlsam.localize.pretrain.intensity import (
    Intensity,
    IntensityOptions,
    change_intensity,
    draw_intensity,
    thick_slices,
)
from medlsam.localize.pretrain.torchio import ValueTransform, change_values
from medlsam.localize.pretrain.view_pairs import (
    PairPlan,
    PlacedScan,
    ViewOptions,
    plan_pair,
)
from medlsam.localize.pretrain.view_transform import ViewPlan, hu_of
from medlsam.pool.packed_scan import PackedScan
from medlsam.pool.reader import OpenScans
from medlsam.volume.hounsfield import AIR_HU


@dataclass(frozen=True, eq=False)
class PairSample:
    """A training pair: two views still to be drawn, and the random numbers that belong to them.

    Attributes:
        pair: the plan.
        intensity: changes of the values of both views.
        window_chance: (2, N, 3) uniform in [0, 1), for ``window_loss`` in both directions.
    """

    pair: PairPlan
    intensity: tuple[Intensity, Intensity]
    window_chance: Tensor


class PairDataset(Dataset[PairSample]):
    """Training pairs of a pool; the index is the pair's number since the beginning of training.

    Args:
        scans: of the pool.
        weights: (N,) relative frequency of each.
        options: how views are drawn.
        spacing_mm: of the scans.
        seed: of all draws.
        augmented: whether values change as well.
        transforms: a user's own, before those changes (see ``change_values``).
        intensity: which changes beyond the usual ones; none by default.
        partners: for each scan the indices of others of the same patient and time, such as other contrast phases.
        phase_probability: chance that the second view of a scan with partners shows one of them.
    """

    def __init__(
        self,
        scans: Sequence[Path],
        weights: NDArray[np.float64],
        options: ViewOptions,
        spacing_mm: float,
        seed: tuple[int, ...],
        augmented: bool = True,
        transforms: Sequence[ValueTransform] = (),
        intensity: IntensityOptions | None = None,
        partners: Sequence[Sequence[int]] = (),
        phase_probability: float = 0.5,
    ) -> None:
        self.scans, self.options, self.spacing_mm, self.seed = scans, options, spacing_mm, seed
        self.augmented, self.transforms, self.intensity = augmented, transforms, intensity
        self.partners, self.phase_probability = partners, phase_probability
        self._opened = OpenScans()
        self._cumulated = np.cumsum(weights) / np.sum(weights)

    def __getitem__(self, index: int) -> PairSample:
        rng = np.random.default_rng([*self.seed, index])
        which = int(np.searchsorted(self._cumulated, rng.random(), side="right"))
        scan = self._opened[self.scans[which]]
        pair = plan_pair(scan, self.spacing_mm, self.options, rng, self._partner(which, scan, rng))
        changes = (Intensity(), Intensity())
        if self.augmented:
            changes = (draw_intensity(rng, self.intensity), draw_intensity(rng, self.intensity))
        chance = torch.as_tensor(rng.random((2, self.options.points, 3)), dtype=torch.float32)
        if self.transforms:
            # Last, so that everything else is drawn as without them.
            one, other = (
                replace(
                    view, block=change_values(view.hu, self.transforms, self.spacing_mm, rng), levels_hu=None
                )
                for view in pair.views
            )
            pair = replace(pair, views=(one, other))
        return PairSample(pair, changes, chance)

    def _partner(self, which: int, scan: PackedScan, rng: np.random.Generator) -> PlacedScan | None:
        """Draw the scan that the second view shows; None for the same. Scans without partners draw nothing."""
        partners = self.partners[which] if self.partners else ()
        if not partners or rng.random() >= self.phase_probability:
            return None
        other = self._opened[self.scans[partners[int(rng.integers(len(partners)))]]]
        start = np.subtract(other.grid.origin_xyz, scan.grid.origin_xyz) / self.spacing_mm
        return PlacedScan(other, start)


class PairBatch:
    """One process's pairs of a step, on their way to its device.

    All blocks travel as one tensor: one copy to the device, and one file handle between processes, which have few.
    Not a dataclass: Lightning takes those apart when it moves a batch, and this one moves itself.

    Args:
        values: (N,) the voxels of all blocks, one after the other: HU, or codes, which are a quarter of that.
        plans: the views; their blocks are empty.
        shapes: (Z, Y, X) of their blocks.
        changes: of their values.
        fields: the other tensors of the pairs, stacked.
        levels_hu: (256,) HU of each code; None where the values are HU.
    """

    def __init__(
        self,
        values: Tensor,
        plans: list[ViewPlan],
        shapes: list[torch.Size],
        changes: list[Intensity],
        fields: dict[str, Tensor],
        levels_hu: NDArray[np.float32] | None = None,
    ) -> None:
        self.values, self.plans, self.shapes = values, plans, shapes
        self.changes, self.fields, self.levels_hu = changes, fields, levels_hu

    def to(self, device: torch.device, **_: Any) -> PairBatch:
        """Copy the batch to a device."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> PairBatch:
        """Copy the batch into pinned memory, from which a GPU fetches by itself."""
        return self._moved(lambda tensor: tensor.pin_memory())

    def _moved(self, move: Callable[[Tensor], Tensor]) -> PairBatch:
        fields = {name: move(value) for name, value in self.fields.items()}
        return PairBatch(move(self.values), self.plans, self.shapes, self.changes, fields, self.levels_hu)

    def render(self, config: EncoderConfig) -> dict[str, Tensor]:
        """Draw and augment the views on the batch's device.

        Args:
            config: of the encoder, which says how HU are normalised.

        Returns:
            The fields of ``PairPlan`` and of ``PairSample``, stacked; ``views`` (B, 2, Z, Y, X) are normalised HU.
        """
        hu = self.values if self.levels_hu is None else hu_of(self.values, self.levels_hu)
        blocks = hu.split([shape.numel() for shape in self.shapes])
        views = []
        for block, shape, plan, how in zip(blocks, self.shapes, self.plans, self.changes, strict=True):
            scan = block.view(shape)
            if how.slab_mm is not None:
                # Before the view is turned: slices lie as a scanner makes them.
                scan = thick_slices(scan, how.slab_mm, config.spacing_mm)
            drawn = normalise_hu(replace(plan, block=scan).draw(AIR_HU), config)
            views.append(change_intensity(drawn, how) if how != Intensity() else drawn)
        return {"views": torch.stack(views).unflatten(0, (-1, 2)), **self.fields}


def collate(pairs: list[PairSample]) -> PairBatch:
    """Join pairs into a batch; blocks stay codes if all scans have the same table of HU, else they become HU."""
    names = ("points", "places", "valid", "negatives", "negative_places")
    fields = {name: torch.stack([getattr(one.pair, name) for one in pairs]) for name in names}
    fields["window_chance"] = torch.stack([one.window_chance for one in pairs])
    plans = [plan for one in pairs for plan in one.pair.views]
    tables = {None if plan.levels_hu is None else plan.levels_hu.tobytes() for plan in plans}
    if len(tables) > 1:
        plans = [replace(plan, block=plan.hu.float(), levels_hu=None) for plan in plans]
    levels_hu = plans[0].levels_hu
    values = torch.cat([plan.block.flatten() for plan in plans])
    empty = values.new_empty(0)
    return PairBatch(
        values,
        [replace(plan, block=empty, levels_hu=None) for plan in plans],
        [plan.block.shape for plan in plans],
        [how for one in pairs for how in one.intensity],
        fields,
        levels_hu,
    )


class StepSampler(Sampler[list[int]]):
    """The pair numbers of one process in each of some steps.

    Args:
        first: the first step.
        steps: how many.
        size: pairs a step, all processes together.
        rank: which process this is.
        world: how many there are; divides ``size``.
    """

    def __init__(self, first: int, steps: int, size: int, rank: int = 0, world: int = 1) -> None:
        self.first, self.steps, self.size, self.rank, self.world = first, steps, size, rank, world

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        own = self.size // self.world
        for step in range(self.first, self.first + self.steps):
            start = step * self.size + self.rank * own
            yield list(range(start, start + own))


class PairLoader(DataLoader[PairSample]):
    """A loader of pairs that can begin at any step; its empty state says so to Lightning.

    Args:
        pairs: to load.
        batches: which of them.
        workers: loader processes; 0 for none.
        pinned: whether batches are to lie in pinned memory.
    """

    def __init__(self, pairs: PairDataset, batches: StepSampler, workers: int, pinned: bool) -> None:
        super().__init__(
            pairs,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pinned,
            prefetch_factor=4 if workers else None,
            # Otherwise each new iterator takes a seed from torch's global generator, and a resumed run another one.
            generator=torch.Generator().manual_seed(0),
        )

    def state_dict(self) -> dict[str, Any]:
        """Nothing: where to begin follows from the number of steps done."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``state_dict``."""
