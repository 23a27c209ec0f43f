"""Requests to a segmenter for the structures of one scan, and the steps that carry them out.

The axial slices are segmented first; then masks are propagated between slices; then the other planes vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import SIDES, vote
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.propagate import Propagation, propagate
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image

# Clinical contours are drawn in the axial plane; the other two together count as much.
_AXIAL, _SIDE = 2.0, 1.0


@dataclass(frozen=True, eq=False)
class SegmentationRequest:
    """The prompts for one structure, and how to combine the masks of its slices.

    Attributes:
        prompts: one box for each axial slice.
        sides: name of a plane (see ``planes.SIDES``) to the boxes of its slices; empty to use axial slices alone.
        mask_prompt: rough mask for the axial slices.
        propagation: how masks are passed from slice to slice; None segments each slice by itself.
    """

    prompts: list[SlicePrompt]
    sides: Mapping[str, list[SlicePrompt]] = field(default_factory=dict)
    mask_prompt: MaskBlock | None = None
    propagation: Propagation | None = None


def segment_requests(
    segmenter: Segmenter,
    volume: Image,
    requests: Mapping[str, SegmentationRequest],
    stopwatch: Stopwatch | None = None,
) -> dict[str, MaskBlock]:
    """Segment the requested structures of one scan.

    All structures share one call of the segmenter, so that a whole-slice model encodes each slice once.

    Args:
        segmenter: model to use.
        volume: canonical scan, HU.
        requests: structure to request; a structure without prompts is left out of the result.
        stopwatch: records the segmenter's seconds.
    """
    prompts = {name: request.prompts for name, request in requests.items() if request.prompts}
    masks = {name: own.mask_prompt for name, own in requests.items() if own.mask_prompt is not None}
    blocks = segmenter.segment(volume, prompts, stopwatch=stopwatch, mask_prompts=masks)
    for propagation in {own.propagation for own in requests.values() if own.propagation is not None}:
        chosen = {name: prompts[name] for name in prompts if requests[name].propagation == propagation}
        first = {name: blocks[name] for name in chosen}
        blocks |= propagate(segmenter, volume, chosen, first, propagation, stopwatch)
    votes = {name: [block] for name, block in blocks.items()}
    for plane in SIDES:
        boxes = {name: own for name in blocks if (own := requests[name].sides.get(plane.name))}
        if not boxes:
            continue
        for name, block in segmenter.segment(plane.volume(volume), boxes, stopwatch=stopwatch).items():
            votes[name].append(plane.back(block))
    return {
        name: vote(own, [_AXIAL] + [_SIDE] * (len(own) - 1)) if len(own) > 1 else own[0]
        for name, own in votes.items()
    }
