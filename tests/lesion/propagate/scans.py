"""A small scan with one lesion, and a segmenter that sees by HU alone: no weights, the same answer every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.registry import SEGMENTERS, SegmenterSpec
from medlsam.volume import Image

GRID = Grid((30, 60, 70), (1.5, 2.0, 3.0), (-40.0, 10.0, -200.0))
CENTER = (12, 28, 33)  # z, y, x
RADII = (5.2, 9.3, 12.4)


def ball(grid: Grid = GRID) -> NDArray[np.bool_]:
    """An ellipsoid of RADII voxels about CENTER."""
    offsets = [(np.arange(n) - c) / r for n, c, r in zip(grid.shape_zyx, CENTER, RADII, strict=True)]
    z, y, x = np.meshgrid(*offsets, indexing="ij")
    return np.asarray(z**2 + y**2 + x**2 <= 1)


def scan(lesion: NDArray[np.bool_] | None = None) -> Image:
    """Muscle of 50 HU with a lesion of 20 HU."""
    mask = ball() if lesion is None else lesion
    hu = np.where(mask, 20, 50) + np.random.default_rng(0).normal(0, 2, GRID.shape_zyx)
    return Image(hu.round().astype(np.int16), GRID)


class SeesDark:
    """A segmenter: what is darker than 35 HU within a box that is 30 % wider."""

    signature = ""
    spec: SegmenterSpec = SEGMENTERS["sam-tiny"]

    def __init__(self) -> None:
        self.asked: list[SlicePrompt] = []
        self.masks: list[Mapping[str, MaskBlock]] = []

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        self.masks.append(mask_prompts or {})
        found = {}
        for name, own in prompts.items():
            self.asked += own
            slices = [prompt.z for prompt in own]
            whole = np.zeros((max(slices) - min(slices) + 1, *volume.array.shape[1:]), np.float32)
            for prompt in own:
                x0, y0, x1, y1 = prompt.box_xyxy
                dx, dy = 0.15 * (x1 - x0), 0.15 * (y1 - y0)
                rows = slice(max(0, round(y0 - dy + 0.5)), max(0, round(y1 + dy + 0.5)))
                columns = slice(max(0, round(x0 - dx + 0.5)), max(0, round(x1 + dx + 0.5)))
                dark = volume.array[prompt.z, rows, columns] < 35
                whole[prompt.z - min(slices), rows, columns] = np.where(dark, 0.9, 0.1)
            found[name] = MaskBlock((min(slices), 0, 0), whole)
        return found
