"""Requests to a segmenter for the structures of one scan, and the steps that carry them out.

The axial slices are segmented first; then masks are propagated between slices; then the other planes vote.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock, joined
from medlsam.segment.planes import SIDES, vote
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.propagate import Propagation, propagate
from medlsam.segment.protocol import Segmenter
from medlsam.segment.windows import choose_window, hu_in_boxes, in_window
from medlsam.volume import Image

# Clinical contours are drawn in the axial plane; the other two together count as much.
_AXIAL, _SIDE = 2.0, 1.0


@dataclass(frozen=True, eq=False)
class SegmentationRequest:
    """The prompts for one structure, and how to combine the masks of its slices.

    Attributes:
        prompts: one box for each axial slice, or one for each part of the structure in it (``SlicePrompt.part``).
        sides: name of a plane (see ``planes.SIDES``) to the boxes of its slices; empty to use axial slices alone.
        mask_prompt: rough mask for the axial slices.
        propagation: how masks are passed from slice to slice; None segments each slice by itself.
        window: what whole-slice models are shown: ``model`` for their own window, ``auto`` for the one that suits the
            structure (see ``windows``), or lowest and highest HU. Other models have windows of their own.
        hu: HU in the structure, as its templates have them; where there are none, those in the axial boxes count.
    """

    prompts: list[SlicePrompt]
    sides: Mapping[str, list[SlicePrompt]] = field(default_factory=dict)
    mask_prompt: MaskBlock | None = None
    propagation: Propagation | None = None
    window: str | tuple[float, float] = "model"
    hu: tuple[float, ...] = ()


def segment_requests(
    segmenter: Segmenter,
    volume: Image,
    requests: Mapping[str, SegmentationRequest],
    stopwatch: Stopwatch | None = None,
) -> dict[str, MaskBlock]:
    """Segment the requested structures of one scan.

    All structures share one call of the segmenter, so that a whole-slice model encodes each slice once. The parts of a
    structure are segmented like structures of their own and joined at the end.

    Args:
        segmenter: model to use.
        volume: canonical scan, HU.
        requests: structure to request; a structure without prompts is left out of the result.
        stopwatch: records the segmenter's seconds.
    """
    requests = {name: _windowed(own, segmenter, volume) for name, own in requests.items()}
    owners = {key: name for name, own in requests.items() for key in _by_part(name, own.prompts)}
    chosen = {key: requests[name] for key, name in owners.items()}
    prompts = _split({name: request.prompts for name, request in requests.items()})
    masks = {key: own.mask_prompt for key, own in chosen.items() if own.mask_prompt is not None}
    blocks = segmenter.segment(volume, prompts, stopwatch=stopwatch, mask_prompts=masks)
    for propagation in {own.propagation for own in chosen.values() if own.propagation is not None}:
        alike = {key: prompts[key] for key in prompts if chosen[key].propagation == propagation}
        first = {key: blocks[key] for key in alike}
        blocks |= propagate(segmenter, volume, alike, first, propagation, stopwatch)
    votes = {key: [block] for key, block in blocks.items()}
    for plane in SIDES:
        boxes = _split({name: own.sides.get(plane.name, []) for name, own in requests.items()})
        boxes = {key: own for key, own in boxes.items() if key in blocks}
        if not boxes:
            continue
        for key, block in segmenter.segment(plane.volume(volume), boxes, stopwatch=stopwatch).items():
            votes[key].append(plane.back(block))
    parts: dict[str, list[MaskBlock]] = defaultdict(list)
    for key, own in votes.items():
        block = vote(own, [_AXIAL] + [_SIDE] * (len(own) - 1)) if len(own) > 1 else own[0]
        parts[owners[key]].append(block)
    return {name: joined(own) for name, own in parts.items()}


def _windowed(request: SegmentationRequest, segmenter: Segmenter, volume: Image) -> SegmentationRequest:
    """Show a whole-slice model the structure in the window that its request asks for."""
    if request.window == "model" or segmenter.spec.kind != "sam" or not request.prompts:
        return request
    if isinstance(request.window, str):
        hu = request.hu or hu_in_boxes(volume, request.prompts)
        window = choose_window(hu, segmenter.spec)
        if window is None:
            return request
        low, high = window.low, window.high
    else:
        low, high = request.window
    sides = {plane: in_window(own, low, high) for plane, own in request.sides.items()}
    return replace(request, prompts=in_window(request.prompts, low, high), sides=sides)


def _split(prompts: Mapping[str, Sequence[SlicePrompt]]) -> dict[str, list[SlicePrompt]]:
    """Split the prompts of structures by part."""
    return {key: part for name, own in prompts.items() for key, part in _by_part(name, own).items()}


def _by_part(name: str, prompts: Sequence[SlicePrompt]) -> dict[str, list[SlicePrompt]]:
    """Group prompts by part; the key of part 0 is the structure's name, so that of a structure in one part is too."""
    found: dict[str, list[SlicePrompt]] = defaultdict(list)
    for prompt in prompts:
        found[name if prompt.part == 0 else f"{name}/part {prompt.part}"].append(prompt)
    return dict(found)
