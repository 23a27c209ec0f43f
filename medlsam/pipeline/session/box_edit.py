"""Segment a structure in a box that somebody moved, each slice once: what an edit has time for.

The mask that is there says more about the structure's outline than any template: its slice boxes are stretched along
with the box and become the prompts. A dragged face changes the mask near itself alone (``drag``); a box in another
place is segmented anew. Where there is no mask yet, the templates' profile gives the boxes of a few slices, and their
masks give those of all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Box, Grid, map_between
from medlsam.options import PromptOptions
from medlsam.pipeline.prompts import slice_prompts
from medlsam.pipeline.session.drag import RULE, Drag, FaceRule
from medlsam.pipeline.session.mask import EMPTY, MaskPart
from medlsam.results import LocatedStructure
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, index_box, oracle_slices, wpl
from medlsam.segment.protocol import Segmenter
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.volume import Image
from medlsam.volume.components import largest_components, number_components

#: Slices that are segmented; of a longer structure every second, third, ..., and what lies between is interpolated.
MOST_SLICES = 96
#: Slices of the first look at a structure without a mask.
_FIRST_SLICES = 24


def segment_in_box(
    segmenter: Segmenter,
    volume: Image,
    structure: LocatedStructure,
    masks: Sequence[MaskPart],
    boxes: tuple[Box | None, Box],
    options: PromptOptions,
    rule: FaceRule = RULE,
) -> list[MaskPart]:
    """Segment one structure in a box.

    Args:
        segmenter: the model.
        volume: canonical scan, HU.
        structure: its profile, its parts and its HU, as far as templates hold them.
        masks: the present mask, and others that are to change in the same way (that without clicks).
        boxes: the box that the mask was segmented in, and where the structure is, LPS mm; this one overlaps the scan.
        options: margin, and which HU whole-slice models are shown.
        rule: how far a dragged face acts.

    Returns:
        Each of the masks inside of the box, in as many connected parts as the structure has.
    """
    mask, (old, box) = masks[0], boxes
    drag = Drag.between(old, box, volume.grid, rule) if mask.array.size and old is not None else None
    if drag is not None:
        prompts = drag.prompts(mask, box, volume.grid)
        seen_anew = _segment(segmenter, volume, structure, prompts, options) if prompts else None
        slices = {own.z for own in prompts}
        made: dict[int, MaskPart] = {}
        for own in masks:
            if id(own) not in made:  # without clicks it is the same mask twice
                blended, kept = drag.blended(own, seen_anew, slices)
                made[id(own)] = inside(blended, box, volume.grid, structure.parts, kept)
        return [made[id(own)] for own in masks]
    if mask.array.size and old is not None:
        prompts = stretched(mask, old, box, volume.grid)
    else:
        given = replace(structure, box=box, located_box=box, slabs=())
        prompts = slice_prompts(given, volume.grid, options)
        if len(prompts) > _FIRST_SLICES:
            first = _segment(segmenter, volume, structure, prompts, options, _FIRST_SLICES)
            seen = inside(first, box, volume.grid, structure.parts)
            if seen.array.size:
                prompts = stretched(seen, box, box, volume.grid)
    if not prompts:
        return [EMPTY for _ in masks]
    block = _segment(segmenter, volume, structure, prompts, options)
    return [inside(block, box, volume.grid, structure.parts)] * len(masks)


def stretched(mask: MaskPart, old: Box, new: Box, grid: Grid) -> list[SlicePrompt]:
    """Stretch the slice boxes of a mask along with its box.

    Args:
        mask: the structure in the old box.
        old: LPS mm.
        new: LPS mm.
        grid: canonical grid.

    Returns:
        A prompt for each slice of the new box.
    """
    seen = {own.z: own.box_xyxy for own in oracle_slices(mask.array, mask.origin_zyx)}
    places = np.array(sorted(seen))
    source, target = index_box(old, grid), index_box(new, grid)
    found = []
    for whole in wpl(new, grid):
        z = float(map_between(whole.z, target[:, 2:], source[:, 2:]).item())
        nearest = int(places[np.abs(places - z).argmin()])
        corners = map_between(np.reshape(seen[nearest], (2, 2)), source[:, :2], target[:, :2])
        low, high = np.reshape(whole.box_xyxy, (2, 2))
        (x0, y0), (x1, y1) = np.clip(corners, low, high).tolist()
        if x1 - x0 < 1 or y1 - y0 < 1:  # the mask lay outside of its box there
            x0, y0, x1, y1 = whole.box_xyxy
        found.append(replace(whole, box_xyxy=(x0, y0, x1, y1)))
    return found


def _segment(
    segmenter: Segmenter,
    volume: Image,
    structure: LocatedStructure,
    prompts: list[SlicePrompt],
    options: PromptOptions,
    most: int = MOST_SLICES,
) -> MaskBlock:
    asked = _every(prompts, most)
    request = SegmentationRequest(asked, window=options.window, hu=structure.hu)
    block = segment_requests(segmenter, volume, {structure.name: request}, Stopwatch())[structure.name]
    return filled_between(block, {own.z for own in asked})


def _every(prompts: Sequence[SlicePrompt], most: int) -> list[SlicePrompt]:
    """The prompts of at most so many slices, evenly, with both ends."""
    slices = sorted({own.z for own in prompts})
    if len(slices) <= most:
        return list(prompts)
    kept = {slices[int(k)] for k in np.linspace(0, len(slices) - 1, most).round()}
    return [own for own in prompts if own.z in kept]


def filled_between(block: MaskBlock, asked: Collection[int]) -> MaskBlock:
    """Interpolate the slices that were not segmented between those that were.

    Args:
        block: changed in place.
        asked: numbers of the slices that were segmented.
    """
    first_z = block.origin_zyx[0]
    for low, high in pairwise(sorted(asked)):
        for z in range(low + 1, high):
            share = (z - low) / (high - low)
            ends = block.probability[low - first_z], block.probability[high - first_z]
            block.probability[z - first_z] = (1 - share) * ends[0] + share * ends[1]
    return block


def inside(
    block: MaskBlock, box: Box, grid: Grid, parts: int, kept: NDArray[np.bool_] | None = None
) -> MaskPart:
    """The mask of a block inside of a box: voxels whose centres lie in it, in so many connected parts.

    Args:
        block: probabilities.
        box: LPS mm.
        grid: canonical grid.
        parts: of the structure.
        kept: voxels of the block whose parts stay, whatever their size.
    """
    low, high = (corner[::-1] for corner in index_box(box, grid))
    mask: NDArray[np.bool_] = block.probability >= 0.5
    for axis in range(3):
        places = np.arange(mask.shape[axis]) + block.origin_zyx[axis]
        outside = (places < low[axis] - 1e-3) | (places > high[axis] + 1e-3)
        mask[(slice(None),) * axis + (outside,)] = False
    made = largest_components(mask, max(parts, 1))
    if kept is not None and not made[mask].all():
        numbered, _ = number_components(mask)
        made |= np.isin(numbered, np.unique(numbered[kept & mask]))
    return MaskPart.of(made & mask, block.origin_zyx)
