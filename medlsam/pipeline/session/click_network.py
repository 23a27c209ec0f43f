"""Ask the segmenter around a click: it decodes once more with points, and with the mask as mask prompt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medlsam.options import PromptOptions
from medlsam.pipeline.session.click_edit import Ask, Index
from medlsam.pipeline.session.mask import MaskPart
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices
from medlsam.segment.protocol import Segmenter
from medlsam.segment.request import SegmentationRequest, segment_requests
from medlsam.volume import Image

#: Slices that one click asks about, at most.
MOST_SLICES = 16
# The mask's own boxes are nearly right, but not drawn by hand.
_ERROR_MM = 2.0


def asker(
    segmenter: Segmenter,
    volume: Image,
    name: str,
    click_zyx: Index,
    points: list[tuple[Index, bool]],
    options: PromptOptions,
) -> Ask:
    """Make the function that ``apply_click`` asks; see ``probabilities`` for the arguments."""

    def ask(
        mask: MaskPart, reach_mm: float, point_mm: float, low: Index, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        return probabilities(
            segmenter, volume, name, mask, click_zyx, points, reach_mm, point_mm, low, shape, options
        )

    return ask


def probabilities(
    segmenter: Segmenter,
    volume: Image,
    name: str,
    mask: MaskPart,
    click_zyx: tuple[int, int, int],
    points: list[tuple[tuple[int, int, int], bool]],
    reach_mm: float,
    point_mm: float,
    low_zyx: tuple[int, int, int],
    shape: tuple[int, ...],
    options: PromptOptions,
) -> NDArray[np.float32]:
    """Segment the slices around a click anew.

    Args:
        segmenter: the model.
        volume: canonical scan, HU.
        name: the structure.
        mask: as the mask will be by the local rule alone: it is the mask prompt, and its boxes are the boxes.
        click_zyx: voxel of the click.
        points: all clicks, voxel and whether inside, in order.
        reach_mm: slices farther away are not asked.
        point_mm: slices as near as this to a click get it as a point.
        low_zyx: first voxel of the window to answer for.
        shape: of the window.
        options: which HU whole-slice models are shown.

    Returns:
        ``shape`` probabilities; NaN in the slices that were not asked.
    """
    answer = np.full(shape, np.nan, np.float32)
    if not mask.array.size:
        return answer
    sz = volume.grid.spacing_xyz[2]
    first, last = max(low_zyx[0], mask.origin_zyx[0]), min(low_zyx[0] + shape[0], mask.end_zyx[0])
    near = [z for z in range(first, last) if abs(z - click_zyx[0]) * sz <= reach_mm]
    near = sorted(sorted(near, key=lambda z: abs(z - click_zyx[0]))[:MOST_SLICES])
    if not near:
        return answer
    part = mask.window((near[0], *mask.origin_zyx[1:]), (near[-1] + 1, *mask.end_zyx[1:]))
    chosen = set(near)
    prompts = [
        _with_points(replace(own, error_mm=_ERROR_MM), points, point_mm, sz)
        for own in oracle_slices(part, (near[0], *mask.origin_zyx[1:]))
        if own.z in chosen
    ]
    if not prompts:
        return answer
    rough = MaskBlock((near[0], *mask.origin_zyx[1:]), part.astype(np.float32))
    request = SegmentationRequest(prompts, mask_prompt=rough, window=options.window)
    block = segment_requests(segmenter, volume, {name: request}, Stopwatch())[name]
    y, x = low_zyx[1:]
    for prompt in prompts:
        plane = block.window(prompt.z, (x, y, x + shape[2], y + shape[1]))
        if plane is not None:
            answer[prompt.z - low_zyx[0]] = plane
    return answer


def _with_points(
    prompt: SlicePrompt, points: list[tuple[tuple[int, int, int], bool]], point_mm: float, sz: float
) -> SlicePrompt:
    """Give a prompt the clicks of its slice and of those near it; of several inside, the nearest and latest."""
    near = [(abs(z - prompt.z) * sz, (float(x), float(y)), inside) for (z, y, x), inside in points[::-1]]
    near = [own for own in near if own[0] <= point_mm]
    inside = sorted((own for own in near if own[2]), key=lambda own: own[0])
    outside = tuple(place for _, place, within in near if not within)
    return replace(prompt, point_xy=inside[0][1] if inside else None, outside_xy=outside)
