"""All that is asked of a segmenter about structures in one scan, in the order in which it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.planes import SIDES, vote
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.propagate import Propagation, propagate
from medlsam.volume import Image

if TYPE_CHECKING:
    from medlsam.segment.load import Segmenter

# The axial plane is the one that clinical contours are drawn in; the other two together count as much.
_AXIAL, _SIDE = 2.0, 1.0


@dataclass(frozen=True, eq=False)
class Ask:
    """One structure's question.

    Attributes:
        prompts: one box for each axial slice.
        sides: plane (see ``axes.SIDES``) to the boxes of its slices; empty where one axis is enough.
        prior: a rough mask, SAM's mask prompt for the axial slices.
        propagation: how masks are handed on from slice to slice; None where each slice speaks for itself.
    """

    prompts: list[SlicePrompt]
    sides: Mapping[str, list[SlicePrompt]] = field(default_factory=dict)
    prior: MaskBlock | None = None
    propagation: Propagation | None = None


def answer(
    segmenter: Segmenter, volume: Image, asks: Mapping[str, Ask], stopwatch: Stopwatch | None = None
) -> dict[str, MaskBlock]:
    """Segment structures: axial slices, then what is handed on between them, then the other planes' votes.

    All structures are asked in one call, so that a model that sees whole slices encodes each of them once.

    Args:
        segmenter: whose masks.
        volume: canonical scan, HU.
        asks: structure to question; one without prompts is left out of the answer.
        stopwatch: gets the segmenter's seconds.
    """
    prompts = {name: ask.prompts for name, ask in asks.items() if ask.prompts}
    priors = {name: ask.prior for name, ask in asks.items() if ask.prior is not None}
    blocks = segmenter.segment(volume, prompts, stopwatch=stopwatch, priors=priors)
    for way in {ask.propagation for ask in asks.values()} - {None}:
        assert way is not None
        going = {name: blocks[name] for name in prompts if asks[name].propagation == way}
        chosen = {name: prompts[name] for name in going}
        blocks |= propagate(segmenter, volume, chosen, going, way, stopwatch)
    votes = {name: [block] for name, block in blocks.items()}
    for turn in SIDES:
        aside = {
            name: own for name, ask in asks.items() if name in blocks and (own := ask.sides.get(turn.name))
        }
        if not aside:
            continue
        for name, block in segmenter.segment(turn.volume(volume), aside, stopwatch=stopwatch).items():
            votes[name].append(turn.back(block))
    return {
        name: vote(own, [_AXIAL] + [_SIDE] * (len(own) - 1)) if len(own) > 1 else own[0]
        for name, own in votes.items()
    }
