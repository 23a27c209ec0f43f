"""Training samples of ``sam-tiny``: one crop, one box, one mask at a time, drawn from the pool.

Most are labelled structures, many with boxes that are off as a located box is off. A share are regions without a name
(floods of similar HU), so that the network learns "what fits this box" and not a list of structures. Some boxes hold
nothing, since a located box reaches past the ends of its structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import IterableDataset

from medlsam.geometry import map_between, tight_slices
from medlsam.segment.regions import flood
from medlsam.segment.sam_tiny.crops import (
    channels,
    neighbour_step,
    planes_at,
    sample,
)
from medlsam.segment.sam_tiny.network import TinyConfig
from medlsam.segment.sam_tiny.train_arrays import Structure, TrainingCase
from medlsam.segment.sam_tiny.train_augment import disturb, warp
from medlsam.segment.sam_tiny.train_boxes import (
    SamplingConfig,
    jitter,
    move_box,
)
from medlsam.segment.sam_tiny.train_plane import Pictured, TurnedPlane
from medlsam.volume.hounsfield import LOWEST_HU

Sample = dict[str, Tensor]
SHAPE_ZYX = (24, 32, 32)
NO_POINTS = ((0.0, 0.0, -1.0), (0.0, 0.0, -1.0))


class SampleSource:
    """Draws samples from training cases; mean ``shapes`` of other patients serve as mask prompts."""

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        net: TinyConfig,
        sampling: SamplingConfig,
        shapes: dict[str, list[tuple[str, NDArray[np.uint8]]]] | None = None,
    ) -> None:
        self.cases, self.net, self.sampling = list(cases), net, sampling
        self.shapes = shapes if shapes is not None else collect_shapes(cases)
        self.groups: dict[str, dict[str, list[tuple[TrainingCase, Structure]]]] = {}
        for case in self.cases:
            for structure in case.structures:
                by_name = self.groups.setdefault(case.group, {})
                by_name.setdefault(structure.name, []).append((case, structure))

    def draw(self, rng: np.random.Generator) -> Sample:
        """Draw one sample of a source chosen by the weights."""
        weights = {group: getattr(self.sampling, group) for group in self.groups}
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
        if rng.random() < self.sampling.empty:
            return self._past_the_end(case, structure, rng)
        with_mask_prompt = rng.random() < self.sampling.prior
        axis = (
            int(rng.integers(1, 3))
            if not with_mask_prompt and rng.random() < self.sampling.other_plane
            else 0
        )
        where = structure.where[axis]
        return self.structure_sample(
            case, structure, axis, int(rng.integers(where.start, where.stop)), with_mask_prompt, rng
        )

    def structure_sample(
        self,
        case: TrainingCase,
        structure: Structure,
        axis: int,
        index: int,
        with_mask_prompt: bool,
        rng: np.random.Generator,
    ) -> Sample | None:
        """Cut a crop around a structure in one slice (``index`` along ``axis``); None if the slice has none of it."""
        labels = np.moveaxis(case.labels, axis, 0)
        mask = labels[index] == structure.value
        if not mask.any():
            return None
        sampling = self.sampling
        angle = (
            float(rng.normal(0, 0.15))
            if not with_mask_prompt and sampling.intensity and rng.random() < 0.5
            else 0.0
        )
        mirrored = bool(sampling.intensity and rng.random() < 0.5)
        plane = TurnedPlane(case, axis, angle, mirrored)
        rows, columns = (structure.where[a] for a in range(3) if a != axis)
        flat = plane.corners_box(columns.start, rows.start, columns.stop, rows.stop)
        # the third axis is the one across the slices
        step = case.spacing_zyx[axis]
        across = structure.where[axis].start * step, structure.where[axis].stop * step
        whole = np.array([*flat[:2], across[0], *flat[2:], across[1]])
        moved, error = move_box(whole, sampling, rng)
        old, new = whole[[0, 1, 3, 4]], moved[[0, 1, 3, 4]]
        box = plane.tight_box(mask)
        if error > 0:
            # the slice gets the box of the height that the moved box has there, if the structure goes so far
            share = ((index + 0.5) * step - moved[2]) / (moved[5] - moved[2])
            height = int(np.floor((across[0] + np.clip(share, 0, 1) * (across[1] - across[0])) / step))
            there = labels[int(np.clip(height, structure.where[axis].start, structure.where[axis].stop - 1))]
            there = there == structure.value
            tight = plane.tight_box(there if there.any() else mask)
            mapped = map_between(*(corners.reshape(2, 2) for corners in (tight, old, new)))
            box = jitter(mapped.ravel(), 0.06, rng)
        mask_prompt = None
        if with_mask_prompt:
            mask_prompt = self._mask_prompt(case, structure, index, new, mirrored, rng)
        return self._finish(plane, mask, index, box, error, mask_prompt, rng)

    def _past_the_end(
        self, case: TrainingCase, structure: Structure, rng: np.random.Generator
    ) -> Sample | None:
        low, high = structure.where[0].start, structure.where[0].stop
        upper = bool(rng.random() < 0.5)
        end = high - 1 if upper else low
        index = end + int(rng.integers(1, 5)) * (1 if upper else -1)
        if not 0 <= index < len(case.labels):
            return None
        plane = TurnedPlane(case, 0, 0.0, bool(rng.random() < 0.5))
        box = jitter(plane.tight_box(case.labels[end] == structure.value), 0.1, rng)
        mask = case.labels[index] == structure.value
        return self._finish(plane, mask, index, box, self.sampling.located_error_mm, None, rng)

    def _nameless(self, rng: np.random.Generator) -> Sample | None:
        """Draw a connected region of similar HU around a random place of a random plane."""
        case = self.cases[rng.integers(len(self.cases))]
        axis = int(rng.integers(1, 3)) if rng.random() < self.sampling.other_plane else 0
        stack = np.moveaxis(case.image, axis, 0)
        index = int(rng.integers(len(stack)))
        spacing_v, spacing_u = (case.spacing_zyx[a] for a in range(3) if a != axis)
        mask = flood(stack[index], (spacing_u, spacing_v), rng)
        return None if mask is None else self.mask_sample(case, mask, axis, index, rng)

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
        rough = None
        if with_mask_prompt:
            shape = mask[tight_slices(mask)].astype(np.float32)
            shape = ndimage.gaussian_filter(shape, [0.05 * n for n in shape.shape])
            shape = np.ascontiguousarray(shape[:, ::-1] if plane.mirrored else shape)
            rough = shape, jitter(tight, float(rng.uniform(0, 0.15)), rng)
        return self._finish(plane, mask, index, box, error, rough, rng)

    def _mask_prompt(
        self,
        case: TrainingCase,
        structure: Structure,
        index: int,
        moved: NDArray[np.float64],
        mirrored: bool,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]] | None:
        """Average the shapes of up to five other patients at this height of the moved box; return it with that box."""
        others = [shape for name, shape in self.shapes.get(structure.name, []) if name != case.name]
        if not others:
            return None
        chosen = rng.choice(len(others), size=min(len(others), int(rng.integers(3, 6))), replace=False)
        mean = np.stack([others[k] for k in chosen]).mean(axis=0, dtype=np.float32)
        low, high = structure.where[0].start, structure.where[0].stop
        ends = np.array([low, high]) + rng.normal(0, 0.08, 2) * (high - low)
        height = (index + 0.5 - ends[0]) / max(ends[1] - ends[0], 1e-3)
        level = int(np.clip(height * SHAPE_ZYX[0], 0, SHAPE_ZYX[0] - 1))
        shape: NDArray[np.float32] = mean[level, :, ::-1] if mirrored else mean[level]
        return np.ascontiguousarray(shape), moved

    def _finish(
        self,
        plane: TurnedPlane,
        mask: NDArray[np.bool_],
        index: int,
        box: NDArray[np.float64],
        error_mm: float,
        mask_prompt: tuple[NDArray[np.float32], NDArray[np.float64]] | None,
        rng: np.random.Generator,
    ) -> Sample:
        """Cut the crop around the prompt (boxes are in the plane's turned millimetres)."""
        sampling, size = self.sampling, self.net.size
        longest = float((box[2:] - box[:2]).max())
        zoom = float(np.exp(rng.uniform(*np.log(sampling.zoom))))
        side = max(zoom * longest, float(rng.uniform(*sampling.min_side_mm)))
        center = (box[:2] + box[2:]) / 2
        if sampling.intensity:
            center = center + rng.normal(0, 0.02, 2) * side
        frame = plane.frame(center, side)
        stack = np.moveaxis(plane.case.image, plane.axis, 0)
        spacing = plane.case.spacing_zyx[plane.axis]
        planes = planes_at(stack, index, neighbour_step(spacing, self.net.neighbour_mm))
        # the mask rides along as a fourth plane, counted from the planes' fill
        both = sample([*planes, np.where(mask, LOWEST_HU + 1, LOWEST_HU)], frame, size)
        crop = both[:3]
        target = (both[3] - LOWEST_HU > 0.5).float()
        if sampling.intensity:
            crop = disturb(crop, rng)
        low = center - side / 2
        prompt = (box - np.tile(low, 2)) / side * size
        rough = torch.full((size // 2, size // 2), torch.nan)
        if mask_prompt is not None:
            rough = warp(mask_prompt[0], (mask_prompt[1] - np.tile(low, 2)) / side, size // 2)
        with_points = rng.random() < sampling.points
        return {
            "crop": channels(crop, self.net.windows),
            "box": torch.from_numpy(prompt).float(),
            "error": torch.tensor(error_mm / side * size),
            "mask": target,
            "mask_prompt": rough,
            "points": _points(target.numpy() > 0.5, prompt, rng) if with_points else torch.tensor(NO_POINTS),
        }


def _points(mask: NDArray[np.bool_], box: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Draw a point inside a mask on the crop and one outside near its box: (2, 3); one may be missing."""
    given = torch.tensor(NO_POINTS)
    kinds = (True, False) if rng.random() < 0.4 else (bool(rng.random() < 0.5),)
    low, high = (np.clip(side, 0, len(mask)) for side in (box[:2] - 4, box[2:] + 4))
    near = np.zeros_like(mask)
    near[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1] = True
    for slot, inside in enumerate(kinds):
        able = np.argwhere(mask if inside else near & ~mask)
        if len(able):
            y, x = able[rng.integers(len(able))]
            given[slot] = torch.tensor([x + 0.5, y + 0.5, float(inside)])
    return given


def collect_shapes(cases: Sequence[TrainingCase]) -> dict[str, list[tuple[str, NDArray[np.uint8]]]]:
    """Collect (case, mask of its box at ``SHAPE_ZYX``) of every case, by structure."""
    shapes: dict[str, list[tuple[str, NDArray[np.uint8]]]] = {}
    for case in cases:
        for structure in case.structures:
            part = case.labels[structure.where] == structure.value
            picks = [
                ((np.arange(n) + 0.5) / n * m).astype(int) for n, m in zip(SHAPE_ZYX, part.shape, strict=True)
            ]
            shapes.setdefault(structure.name, []).append((case.name, part[np.ix_(*picks)].astype(np.uint8)))
    return shapes


class SampleStream(IterableDataset[Sample]):
    """Samples without end, another stream in each worker and epoch."""

    def __init__(self, source: SampleSource, seed: int) -> None:
        self.source, self.seed, self.epoch = source, seed, 0

    def __iter__(self) -> Iterator[Sample]:
        info = torch.utils.data.get_worker_info()
        self.epoch += 1
        rng = np.random.default_rng(
            [self.seed, self.epoch, info.id if info else 0, info.seed % 2**31 if info else 0]
        )
        while True:
            yield self.source.draw(rng)
