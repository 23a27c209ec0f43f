"""Choose slices of a scan, and boxes in them for the teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.regions import draw_region
from medlsam.volume import Image

#: Finds boxes of structures in a scan that somebody wants to segment later: name and canonical scan to prompts.
LocatedPrompts = Callable[[str, Image], Sequence[SlicePrompt]]
Box = tuple[float, float, float, float]

# A box that overlaps another one more (IoU) tells the student nothing new.
_ALIKE = 0.8
# Draws of regions for each box that is wanted.
_DRAWS = 3


@dataclass(frozen=True)
class SliceBoxes:
    """The boxes of one slice.

    Attributes:
        z: slice index of the canonical array.
        boxes: x0, y0, x1, y1 in continuous pixel indices.
    """

    z: int
    boxes: tuple[Box, ...]


def plan(
    image: Image, options: DistillOptions, rng: np.random.Generator, located: Sequence[SlicePrompt] = ()
) -> list[SliceBoxes]:
    """Choose slices and boxes.

    Args:
        image: canonical scan, HU.
        options: how many slices, and boxes in each.
        rng: the only source of chance.
        located: boxes of located structures. Half of the slices are taken from theirs, and in every chosen slice they
            come before regions.

    Returns:
        By slice; slices without any box (air) are left out.
    """
    by_slice: dict[int, list[Box]] = {}
    for prompt in located:
        by_slice.setdefault(prompt.z, []).append(prompt.box_xyxy)
    spacing = image.grid.spacing_xyz[:2]
    planned = []
    for z in _slices(len(image.array), sorted(by_slice), options.slices_per_scan, rng):
        known = by_slice.get(z, [])
        boxes: list[Box] = []
        for k in rng.permutation(len(known)):
            _add(boxes, known[k], options.prompts_per_slice)
        for _ in range(_DRAWS * (options.prompts_per_slice - len(boxes))):
            if len(boxes) == options.prompts_per_slice:
                break
            region = draw_region(image.array[z], spacing, rng)
            if region is not None:
                _add(boxes, oracle_slices(region[None])[0].box_xyxy, options.prompts_per_slice)
        if boxes:
            planned.append(SliceBoxes(z, tuple(boxes)))
    return planned


def _slices(depth: int, located: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Choose slices spread over the scan, and over those with located structures."""
    chosen = set(_spread(located, (count + 1) // 2, rng)) if located else set()
    others = [z for z in range(depth) if z not in chosen]
    return sorted(chosen | set(_spread(others, count - len(chosen), rng)))


def _spread(places: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Draw one of each of ``count`` equal stretches of ``places``; all where there are fewer."""
    if len(places) <= count:
        return list(places)
    ends = np.linspace(0, len(places), count + 1).astype(int)
    return [places[rng.integers(low, high)] for low, high in pairwise(ends)]


def _add(boxes: list[Box], box: Box, most: int) -> None:
    """Append a box, unless there are enough, or one is like it."""
    if len(boxes) < most and all(_iou(box, other) <= _ALIKE for other in boxes):
        boxes.append(box)


def _iou(one: Box, other: Box) -> float:
    x = min(one[2], other[2]) - max(one[0], other[0])
    y = min(one[3], other[3]) - max(one[1], other[1])
    if x <= 0 or y <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return x * y / (sum(areas) - x * y)
