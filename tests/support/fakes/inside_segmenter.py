"""A segmenter with known results, and a scan for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medlsam.geometry import Grid
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.volume import Image


class Inside:
    """Finds the scan's bright voxels inside each box (and nothing else), with probability 0.9."""

    def __init__(self, spec: SegmenterSpec = SEGMENTERS["sam-tiny"]) -> None:
        self.spec = spec
        self.calls: list[dict[str, list[SlicePrompt]]] = []
        self.mask_prompts: list[Mapping[str, MaskBlock]] = []

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Any = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        self.calls.append({name: list(own) for name, own in prompts.items()})
        self.mask_prompts.append(mask_prompts or {})
        blocks = {}
        for name, own in prompts.items():
            low, high = min(p.z for p in own), max(p.z for p in own) + 1
            found = np.zeros((high - low, *volume.array.shape[1:]), np.float32)
            for p in own:
                x0, y0, x1, y1 = (int(np.ceil(v)) for v in p.box_xyxy)
                found[p.z - low, y0:y1, x0:x1] = 0.9 * (volume.array[p.z, y0:y1, x0:x1] > 0)
            blocks[name] = MaskBlock((low, 0, 0), found)
        return blocks


def slanting() -> Image:
    """A bar of 6 x 6 pixels in slices 2 to 9 that moves by one pixel a slice."""
    array = np.zeros((12, 24, 30), np.int16)
    for z in range(2, 10):
        array[z, 8:14, z : z + 6] = 1
    return Image(array, Grid(array.shape))


def mask_of(block: MaskBlock, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    found = np.zeros(shape, bool)
    place = tuple(slice(a, b) for a, b in zip(block.origin_zyx, block.end_zyx, strict=True))
    found[place] = block.probability >= 0.5
    return found
