"""A segmenter whose decoder was adapted to a user's templates, for the structures that gain by it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SegmenterSpec
from medlsam.segment.sam_tiny.network import TinySam
from medlsam.segment.sam_tiny.segmenter import TinySegmenter
from medlsam.volume import Image


def decoder_differences(segmenter: TinySegmenter, net: TinySam) -> dict[str, NDArray[np.float16]]:
    """Subtract a segmenter's decoder from that of ``net``.

    Float16 is fine enough for differences: what is added to them is in full precision.
    """
    old = segmenter.net.decoder.state_dict()
    new = net.decoder.state_dict()
    return {
        name: (new[name].float().cpu() - old[name].float().cpu()).half().numpy()
        for name in old
        if old[name].is_floating_point()
    }


def with_differences(
    segmenter: TinySegmenter, differences: Mapping[str, NDArray[np.float16]]
) -> TinySegmenter:
    """Load a copy of a segmenter with another decoder, from ``decoder_differences``."""
    net = deepcopy(segmenter.net)
    state = net.decoder.state_dict()
    for name, array in differences.items():
        state[name] = state[name] + torch.from_numpy(array.astype(np.float32)).to(state[name])
    net.decoder.load_state_dict(state)
    return TinySegmenter(net, segmenter.device, segmenter.signature, segmenter.spec, segmenter.precision)


class PerStructure:
    """A ``Segmenter`` that segments some structures with an adapted one, and all others as before.

    Attributes:
        usual: for all other structures.
        adapted: for ``structures``.
        structures: names; their parts and the fronts of a propagation (``name/...``) go the same way.
    """

    def __init__(self, usual: Segmenter, adapted: Segmenter, structures: Collection[str]) -> None:
        self.usual, self.adapted, self.structures = usual, adapted, frozenset(structures)

    @property
    def spec(self) -> SegmenterSpec:
        """The usual one's registry entry."""
        return self.usual.spec

    @property
    def signature(self) -> str:
        """The usual one's."""
        return self.usual.signature

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment each structure with its own; see ``Segmenter.segment``."""
        found: dict[str, MaskBlock] = {}
        for segmenter, adapted in ((self.usual, False), (self.adapted, True)):
            own = {key: boxes for key, boxes in prompts.items() if self._is_adapted(key) is adapted}
            if own:
                found |= segmenter.segment(volume, own, stopwatch=stopwatch, mask_prompts=mask_prompts)
        return {key: found[key] for key in prompts if key in found}

    def _is_adapted(self, key: str) -> bool:
        return key in self.structures or any(key.startswith(f"{name}/") for name in self.structures)
