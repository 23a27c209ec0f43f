"""Propagate masks slice by slice from the most confident one.

Segmented one by one, slices ignore each other: a located box that is wrong in one of them causes a hole or a bump
there. Propagation starts at the slice with the most confident mask. The next slice up and down is segmented with a box
between its own located box and the mask's box, and with the mask itself as mask prompt; and so on until the structure
ends. Masks beyond that end are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image

# A structure ends where its mask has fewer pixels.
_MIN_PIXELS = 3
# Propagation starts only where the mask has this share of the largest one: the small masks at the ends are unreliable.
_LARGE = 0.5


@dataclass(frozen=True)
class Propagation:
    """How much neighbouring slices determine each other.

    Attributes:
        share: position of a box between the located one (0) and the one of the neighbour's mask (1).
        own: weight, 0 to 1, of the slice's own mask beside the mask that its neighbour prompted.
    """

    share: float = 0.5
    own: float = 0.2


@dataclass
class _Front:
    """The last slice reached for one structure in one direction.

    Attributes:
        name: the structure.
        key: its name in a call of the segmenter, which covers both directions.
        step: 1 or -1.
        z: index of the slice.
        mask: (H, W) probabilities of the slice, in the block's rows and columns.
    """

    name: str
    key: str
    step: int
    z: int
    mask: NDArray[np.float32]


def propagate(
    segmenter: Segmenter,
    volume: Image,
    prompts: Mapping[str, Sequence[SlicePrompt]],
    blocks: Mapping[str, MaskBlock],
    options: Propagation,
    stopwatch: Stopwatch | None = None,
) -> dict[str, MaskBlock]:
    """Propagate masks from slice to slice, all structures and both directions in step.

    Args:
        segmenter: called once per step; one that keeps embeddings only decodes slices that it encoded before.
        volume: canonical scan, HU.
        prompts: structure to its located boxes.
        blocks: structure to the probabilities of its slices, segmented one by one.
        options: weights of the propagation.
        stopwatch: records the segmenter's seconds.

    Returns:
        Structure to probabilities, in blocks of the same extent. A structure without a mask in any slice keeps its
        block. Slices past the located ends are left out: masks found there more often belong to a neighbour.
    """
    boxes = {name: {prompt.z: prompt for prompt in own} for name, own in prompts.items()}
    found: dict[str, MaskBlock] = {}
    fronts: list[_Front] = []
    for name, block in blocks.items():
        seed = most_confident(block.probability)
        if seed is None or not boxes[name]:
            found[name] = blocks[name]
            continue
        found[name] = MaskBlock(block.origin_zyx, np.zeros_like(block.probability))
        found[name].probability[seed] = block.probability[seed]
        z = seed + block.origin_zyx[0]
        fronts += [_Front(name, f"{name}/{s:+d}", s, z, block.probability[seed]) for s in (1, -1)]
    while fronts:
        following = {
            front.key: [prompt]
            for front in fronts
            if (prompt := _next(front, boxes[front.name], blocks[front.name], options)) is not None
        }
        fronts = [front for front in fronts if front.key in following]
        if not fronts:
            break
        masks = {front.key: _mask_prompt(front, blocks[front.name]) for front in fronts}
        answers = segmenter.segment(volume, following, stopwatch=stopwatch, mask_prompts=masks)
        going = []
        for front in fronts:
            own = blocks[front.name]
            front.z += front.step
            _, y, x = own.origin_zyx
            plane = answers[front.key].window(front.z, (x, y, own.end_zyx[2], own.end_zyx[1]))
            assert plane is not None, "segmenters answer for every slice with a prompt"
            plane = (1 - options.own) * plane + options.own * own.probability[front.z - own.origin_zyx[0]]
            if _ends(plane, front.mask):
                continue
            found[front.name].probability[front.z - own.origin_zyx[0]] = plane
            front.mask = plane
            going.append(front)
        fronts = going
    return found


def most_confident(probability: NDArray[np.float32]) -> int | None:
    """Choose the slice to start from: among those with a large mask, the one with the highest mean probability.

    Args:
        probability: (Z, Y, X).

    Returns:
        Index of the slice; None where no slice has a mask.
    """
    inside = probability >= 0.5
    area = inside.sum(axis=(1, 2))
    if area.max(initial=0) < _MIN_PIXELS:
        return None
    mean = np.where(inside, probability, 0).sum(axis=(1, 2)) / np.maximum(area, 1)
    return int(np.where(area >= _LARGE * area.max(), mean, -1.0).argmax())


def _next(
    front: _Front, boxes: Mapping[int, SlicePrompt], block: MaskBlock, options: Propagation
) -> SlicePrompt | None:
    """Make the prompt of the next slice: between its own box and the mask's; None past the located ends."""
    z = front.z + front.step
    own = boxes.get(z)
    if own is None or own.error_mm == 0:  # a true box cannot be improved
        return own
    (seen,) = oracle_slices(front.mask[None] >= 0.5, (z, *block.origin_zyx[1:]))
    mixed = options.share * np.array(seen.box_xyxy) + (1 - options.share) * np.array(own.box_xyxy)
    x0, y0, x1, y1 = (float(value) for value in mixed)
    # a point, where there is one, moves with the box
    point = None if own.point_xy is None else ((x0 + x1) / 2, (y0 + y1) / 2)
    return replace(own, box_xyxy=(x0, y0, x1, y1), point_xy=point)


def _mask_prompt(front: _Front, block: MaskBlock) -> MaskBlock:
    """Make the mask prompt of the next slice: the mask of the slice reached."""
    _, y, x = block.origin_zyx
    return MaskBlock((front.z + front.step, y, x), front.mask[None])


def _ends(plane: NDArray[np.float32], before: NDArray[np.float32]) -> bool:
    """Tell whether a structure ends before this slice: hardly any mask, or none over the neighbour's."""
    mask = plane >= 0.5
    return bool(mask.sum() < _MIN_PIXELS or not (mask & (before >= 0.5)).any())
