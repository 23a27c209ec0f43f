"""Slices that agree with their neighbours: from the most certain slice outwards, each mask prompts the next.

Segmented one by one, slices know nothing of each other: a located box that is wrong in one of them gives a hole or a
bump there. Here the slice whose mask is the most certain is believed, and the next one up and down is asked with the
box between its own located box and the mask's, and with the mask itself as SAM's mask prompt; and so on until the
structure ends. What lay beyond that end is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.segment.load import Segmenter

# A mask of fewer pixels is the end of a structure.
_MIN_PIXELS = 3
# Only slices with so much of the largest mask may start: small masks at the ends are certain of little.
_LARGE = 0.5


@dataclass(frozen=True)
class Propagation:
    """How masks are handed on.

    Attributes:
        share: how far a box is moved from the located one to the neighbour's mask; 1 leaves the located one out.
        own: weight of what a slice said by itself, beside what it says when its neighbour asks, 0 to 1.
    """

    share: float = 0.5
    own: float = 0.2


@dataclass
class _Front:
    """One structure on its way in one direction.

    Attributes:
        name: the structure.
        key: what it is called in a call of the segmenter: both directions are asked at once.
        step: 1 or -1.
        z: the slice reached.
        mask: (H, W) of its answer in the block's plane, probabilities.
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
    """Hand masks on from slice to slice, all structures and both directions in step.

    Args:
        segmenter: asked once for every step; slices that it has encoded already cost it a decoding if it keeps
            embeddings.
        volume: canonical scan, HU.
        prompts: structure to its located boxes.
        blocks: structure to what its slices said by themselves.
        options: how.
        stopwatch: gets the segmenter's seconds.

    Returns:
        Structure to probabilities in blocks of the same place. A structure without a mask in any slice keeps
        its block. Nothing is looked for past the located ends: what is found there is more often a neighbour.
    """
    boxes = {name: {prompt.z: prompt for prompt in own} for name, own in prompts.items()}
    found: dict[str, MaskBlock] = {}
    fronts: list[_Front] = []
    for name, block in blocks.items():
        seed = most_certain(block.probability)
        if seed is None or not boxes[name]:
            found[name] = blocks[name]
            continue
        found[name] = MaskBlock(block.origin_zyx, np.zeros_like(block.probability))
        found[name].probability[seed] = block.probability[seed]
        z = seed + block.origin_zyx[0]
        fronts += [_Front(name, f"{name}/{s:+d}", s, z, block.probability[seed]) for s in (1, -1)]
    while fronts:
        asked = {front.key: _next(front, boxes[front.name], blocks[front.name], options) for front in fronts}
        fronts = [front for front in fronts if asked[front.key] is not None]
        if not fronts:
            break
        answers = segmenter.segment(
            volume,
            {front.key: [prompt] for front in fronts if (prompt := asked[front.key]) is not None},
            stopwatch=stopwatch,
            priors={front.key: _hint(front, blocks[front.name]) for front in fronts},
        )
        going = []
        for front in fronts:
            own = blocks[front.name]
            front.z += front.step
            plane = _plane(answers[front.key], front.z, own)
            plane = (1 - options.own) * plane + options.own * own.probability[front.z - own.origin_zyx[0]]
            if _ends(plane, front.mask):
                continue
            found[front.name].probability[front.z - own.origin_zyx[0]] = plane
            front.mask = plane
            going.append(front)
        fronts = going
    return found


def most_certain(probability: NDArray[np.float32]) -> int | None:
    """The slice to start from: of those with a large mask the one whose mask has the highest mean probability.

    Args:
        probability: (Z, Y, X).

    Returns:
        Its index, or None where no slice has a mask.
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
    """The prompt of the next slice: between its own box and the mask's; None past the located ends."""
    z = front.z + front.step
    own = boxes.get(z)
    if own is None or own.error_mm == 0:  # nothing is better than a true box
        return own
    (seen,) = oracle_slices(front.mask[None] >= 0.5, (z, *block.origin_zyx[1:]))
    mixed = options.share * np.array(seen.box_xyxy) + (1 - options.share) * np.array(own.box_xyxy)
    x0, y0, x1, y1 = (float(value) for value in mixed)
    # the point goes along with the box, where there is one
    point = None if own.point_xy is None else ((x0 + x1) / 2, (y0 + y1) / 2)
    return replace(own, box_xyxy=(x0, y0, x1, y1), point_xy=point)


def _hint(front: _Front, block: MaskBlock) -> MaskBlock:
    """The mask of the slice reached, as the next one's mask prompt."""
    _, y, x = block.origin_zyx
    return MaskBlock((front.z + front.step, y, x), front.mask[None])


def _plane(answer: MaskBlock, z: int, like: MaskBlock) -> NDArray[np.float32]:
    """One slice of an answer in the plane of another block; what lies outside of that is dropped."""
    plane = np.zeros(like.probability.shape[1:], np.float32)
    rows, columns = (
        (max(answer.origin_zyx[axis], like.origin_zyx[axis]), min(answer.end_zyx[axis], like.end_zyx[axis]))
        for axis in (1, 2)
    )
    if rows[0] < rows[1] and columns[0] < columns[1]:
        (_, y, x), (_, v, u) = like.origin_zyx, answer.origin_zyx
        plane[rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x] = answer.probability[
            z - answer.origin_zyx[0], rows[0] - v : rows[1] - v, columns[0] - u : columns[1] - u
        ]
    return plane


def _ends(plane: NDArray[np.float32], before: NDArray[np.float32]) -> bool:
    """Whether a structure ends before this slice: hardly any mask, or none over the neighbour's."""
    mask = plane >= 0.5
    return bool(mask.sum() < _MIN_PIXELS or not (mask & (before >= 0.5)).any())
