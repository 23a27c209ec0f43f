"""The protocol of all segmenters: boxes in a scan to probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SegmenterSpec
from medlsam.volume import Image


class Segmenter(Protocol):
    """A model that segments structures in a scan from one box prompt per slice."""

    @property
    def spec(self) -> SegmenterSpec:
        """The model's registry entry."""

    @property
    def signature(self) -> str:
        """The sha256 of its weights file; empty where the weights came from no file."""

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """Segment structures, each in the slices that it has prompts in.

        Args:
            volume: canonical scan, HU.
            prompts: structure to prompts; a structure without prompts is left out of the result.
            stopwatch: records the seconds of ``encode`` and ``decode``.
            mask_prompts: structure to a rough mask; a structure or slice without one is segmented from its box
                alone.

        Raises:
            GeometryError: a prompt lies outside of the scan, or the grid is not canonical.
        """
