"""Training samples of ``sam-tiny``: one crop, one box, one mask at a time, drawn from the pool.

Many are labelled structures, with boxes that are true, or off as a located box is off, or with a mask that is nearly
right and its box. The others are regions without a name, so that the network learns "what fits this box" and not a
list of structures. Some boxes hold nothing, since located boxes and other networks' masks reach past a structure's end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch.utils.data import IterableDataset, get_worker_info

from medlsam.geometry import map_between, tight_slices
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_arrays import Structure, TrainingCase, leave_out
from medlsam.segment.sam_tiny.train_boxes import SamplingConfig, jitter, move_box
from medlsam.segment.sam_tiny.train_crop import Sample, cut_sample
from medlsam.segment.sam_tiny.train_masks import (
    MaskPrompt,
    Shapes,
    collect_shapes,
    mean_shape,
    near_slice,
    rough_mask,
)
from medlsam.segment.sam_tiny.train_plane import Pictured, TurnedPlane
from medlsam.segment.sam_tiny.train_regions import RegionSource

#: What comes as the mask prompt: nothing, the mean shape of other patients, a mask that is nearly right.
Hint = Literal["none", "prior", "rough"]
# Slices past the end are so many; a rough mask that reaches there is up to so much smaller than at the end, mm.
_PAST, _TAPERED_MM = 4, 4.0


class SampleSource:
    """Draws samples from training cases; mean ``shapes`` of other patients serve as mask prompts."""

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        net: TinyConfig,
        sampling: SamplingConfig,
        shapes: Shapes | None = None,
    ) -> None:
        self.cases = leave_out(cases, sampling.leave_out) if sampling.leave_out else list(cases)
        self.net, self.sampling = net, sampling
        self.shapes = shapes if shapes is not None else collect_shapes(self.cases)
        self.regions = RegionSource(self.cases, sampling.regions)
        self.groups: dict[str, dict[str, list[tuple[TrainingCase, Structure]]]] = {}
        for case in self.cases:
            for structure in case.structures:
                by_name = self.groups.setdefault(case.group, {})
                by_name.setdefault(structure.name, []).append((case, structure))

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw one sample of a source chosen by the weights."""
        weights = {group: getattr(self.sampling, group) for group in self.groups}
        if self.regions:
            weights["nameless"] = self.sampling.nameless
        names = [name for name, weight in weights.items() if weight > 0]
        odds = np.array([weights[name] for name in names])
        while True:
            source = names[rng.choice(len(names), p=odds / odds.sum())]
            made = self._nameless(rng) if source == "nameless" else self._labelled(source, rng)
            if made is not None:
                return made

    def _labelled(self, group: str, rng: np.random.Generator) -> Sample | None:
        by_name = self.groups[group]
        name = list(by_name)[rng.integers(len(by_name))]
        case, structure = by_name[name][rng.integers(len(by_name[name]))]
        sampling, kind = self.sampling, rng.random()
        if rng.random() < sampling.empty:
            return self._past_the_end(case, structure, rng)
        hint: Hint = (
            "prior"
            if kind < sampling.prior
            else "rough"
            if kind < sampling.prior + sampling.rough
            else "none"
        )
        axis = int(rng.integers(1, 3)) if hint != "prior" and rng.random() < sampling.other_plane else 0
        where = structure.where[axis]
        return self.structure_sample(
            case, structure, axis, int(rng.integers(where.start, where.stop)), hint, rng
        )

    def structure_sample(
        self,
        case: TrainingCase,
        structure: Structure,
        axis: int,
        index: int,
        hint: Hint,
        rng: np.random.Generator,
    ) -> Sample | None:
        """Cut a crop around a structure in one slice (``index`` along ``axis``); None if the slice has none of it."""
        labels = np.moveaxis(case.labels, axis, 0)
        mask = labels[index] == structure.value
        if not mask.any():
            return None
        varied = self.sampling.intensity
        angle = float(rng.normal(0, 0.15)) if hint != "prior" and varied and rng.random() < 0.5 else 0.0
        plane = TurnedPlane(case, axis, angle, bool(varied and rng.random() < 0.5))
        if hint == "rough":
            near = near_slice(index, case.spacing_zyx[axis], rng)
            other = labels[int(np.clip(near, 0, len(labels) - 1))] == structure.value
            rough = rough_mask(plane, other if other.any() else mask, index, rng)
            if rough is not None:
                return self._cut(plane, mask, index, rough[1], self.sampling.rough_error_mm, rough[0], rng)
        box, error, moved = self._located_box(plane, structure, labels, index, rng)
        shape = (
            mean_shape(self.shapes, case, structure, index, moved, plane.mirrored, rng)
            if hint == "prior"
            else None
        )
        return self._cut(plane, mask, index, box, error, shape, rng)

    def _located_box(
        self,
        plane: TurnedPlane,
        structure: Structure,
        labels: NDArray[np.uint8],
        index: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
        """Make the box of a slice as located ones are made: of the whole structure's box, which may be off.

        Args:
            plane: of the case.
            structure: that the box is of.
            labels: slices first.
            index: of the slice.
            rng: the only source of chance.

        Returns:
            The slice's box, (4,) turned mm, the standard deviation of its sides, and the whole structure's moved box.
        """
        axis, case = plane.axis, plane.case
        rows, columns = (structure.where[a] for a in range(3) if a != axis)
        flat = plane.corners_box(columns.start, rows.start, columns.stop, rows.stop)
        # the third axis is the one across the slices
        step = case.spacing_zyx[axis]
        across = structure.where[axis].start * step, structure.where[axis].stop * step
        whole = np.array([*flat[:2], across[0], *flat[2:], across[1]])
        moved, error = move_box(whole, self.sampling, rng)
        old, new = whole[[0, 1, 3, 4]], moved[[0, 1, 3, 4]]
        mask = labels[index] == structure.value
        if error == 0:
            return plane.tight_box(mask), error, new
        # the slice gets the box of the height that the moved box has there, if the structure goes so far
        share = ((index + 0.5) * step - moved[2]) / (moved[5] - moved[2])
        height = int(np.floor((across[0] + np.clip(share, 0, 1) * (across[1] - across[0])) / step))
        there = labels[int(np.clip(height, structure.where[axis].start, structure.where[axis].stop - 1))]
        there = there == structure.value
        tight = plane.tight_box(there if there.any() else mask)
        mapped = map_between(*(corners.reshape(2, 2) for corners in (tight, old, new)))
        return jitter(mapped.ravel(), 0.06, rng), error, new

    def _past_the_end(
        self, case: TrainingCase, structure: Structure, rng: np.random.Generator
    ) -> Sample | None:
        low, high = structure.where[0].start, structure.where[0].stop
        upper = bool(rng.random() < 0.5)
        end = high - 1 if upper else low
        index = end + int(rng.integers(1, _PAST + 1)) * (1 if upper else -1)
        if not 0 <= index < len(case.labels):
            return None
        plane = TurnedPlane(case, 0, 0.0, bool(rng.random() < 0.5))
        last, mask = (case.labels[z] == structure.value for z in (end, index))
        if rng.random() < self.sampling.empty_rough:
            rough = rough_mask(plane, last, index, rng, shrunk_mm=float(rng.uniform(0, _TAPERED_MM)))
            if rough is not None:
                return self._cut(plane, mask, index, rough[1], self.sampling.rough_error_mm, rough[0], rng)
        box = jitter(plane.tight_box(last), 0.1, rng)
        return self._cut(plane, mask, index, box, self.sampling.located_error_mm, None, rng)

    def _nameless(self, rng: np.random.Generator) -> Sample | None:
        """Draw a region without a name in a random plane."""
        drawn = self.regions.draw(self.sampling.other_plane, rng)
        if drawn is None:
            return None
        case, mask, axis, index = drawn
        if rng.random() < self.sampling.rough:
            plane = TurnedPlane(case, axis, float(rng.normal(0, 0.2)), bool(rng.random() < 0.5))
            rough = rough_mask(plane, mask, index, rng)
            if rough is not None:
                return self._cut(plane, mask, index, rough[1], self.sampling.rough_error_mm, rough[0], rng)
        return self.mask_sample(case, mask, axis, index, rng)

    def mask_sample(
        self,
        case: Pictured,
        mask: NDArray[np.bool_],
        axis: int,
        index: int,
        rng: np.random.Generator,
        with_mask_prompt: bool = False,
    ) -> Sample:
        """Cut a crop around any mask of one slice, which is not empty.

        Args:
            case: the scan.
            mask: (rows, columns) of the slice.
            axis: of the array, across the slices.
            index: of the slice, along ``axis``.
            rng: the only source of chance.
            with_mask_prompt: also give the mask itself, blurred and out of place, as a neighbouring slice's would be;
                then the crop is not turned.
        """
        angle = 0.0 if with_mask_prompt else float(rng.normal(0, 0.2))
        plane = TurnedPlane(case, axis, angle, bool(rng.random() < 0.5))
        tight = plane.tight_box(mask)
        box, error = move_box(tight, self.sampling, rng)
        prompt = None
        if with_mask_prompt:
            shape = mask[tight_slices(mask)].astype(np.float32)
            shape = ndimage.gaussian_filter(shape, [0.05 * n for n in shape.shape])
            shape = np.ascontiguousarray(shape[:, ::-1] if plane.mirrored else shape)
            prompt = MaskPrompt(shape, jitter(tight, float(rng.uniform(0, 0.15)), rng))
        return self._cut(plane, mask, index, box, error, prompt, rng)

    def _cut(
        self,
        plane: TurnedPlane,
        mask: NDArray[np.bool_],
        index: int,
        box: NDArray[np.float64],
        error_mm: float,
        prompt: MaskPrompt | None,
        rng: np.random.Generator,
    ) -> Sample:
        return cut_sample(plane, index, mask, box, error_mm, prompt, self.net, self.sampling, rng)


class NumberedDraws(IterableDataset[Sample], ABC):
    """Samples without end; one depends on its number alone, so that a resumed training and more workers see the same.

    Attributes:
        batch_size: of the loader.
        first: number of the first sample.
    """

    def __init__(self, batch_size: int, first: int = 0) -> None:
        self.batch_size, self.first = batch_size, first

    def __iter__(self) -> Iterator[Sample]:
        # The loader takes a batch from each worker in turn.
        info, size = get_worker_info(), self.batch_size
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for batch in count(worker, workers):
            for number in range(size):
                yield self.draw(self.first + batch * size + number)

    @abstractmethod
    def draw(self, number: int) -> Sample:
        """Draw a sample."""


class SampleStream(NumberedDraws):
    """Samples of a source, drawn with a seed."""

    def __init__(self, source: SampleSource, seed: int, batch_size: int, first: int = 0) -> None:
        super().__init__(batch_size, first)
        self.source, self.seed = source, seed

    def draw(self, number: int) -> Sample:
        """Draw a sample."""
        return self.source.draw(np.random.default_rng([self.seed, 1, number]))
