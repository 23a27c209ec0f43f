"""The HU window of a structure, for models that see a slice through one window.

A window of soft tissue shows lungs black and bone white, whatever is in them. So a structure that lies mostly beyond
the model's window is shown in one of the others that the model's registry entry lists. The choice is one for the whole
structure, so that a slice is encoded once for each window in use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.segment.registry import SegmenterSpec
from medlsam.volume import Image
from medlsam.windows import Window

#: A structure with a larger share of its HU outside of the model's window is shown in another one.
MOST_OUTSIDE = 0.5


def saturated(hu: ArrayLike, low: float, high: float) -> float:
    """Return the share of HU that a window shows black or white; 0 for none at all."""
    values = np.asarray(hu)
    return float(np.mean((values < low) | (values > high))) if values.size else 0.0


def choose_window(hu: ArrayLike, spec: SegmenterSpec) -> Window | None:
    """Choose the window of a structure.

    Args:
        hu: HU in the structure, any number of them.
        spec: registry entry of the model.

    Returns:
        None for the model's own window, where at least half of the HU lie in it or the other one holds no more of them;
        else the darkest of the entry's windows, or the brightest, by the side on which most of the rest lie.
    """
    values, window = np.asarray(hu), spec.window
    own = saturated(values, window.low, window.high)
    if own <= MOST_OUTSIDE or not spec.windows:
        return None
    dark = (values < window.low).sum() > (values > window.high).sum()
    found = (min if dark else max)(spec.windows, key=lambda other: other.level)
    return found if saturated(values, found.low, found.high) < own else None


def in_window(prompts: Sequence[SlicePrompt], low: float, high: float) -> list[SlicePrompt]:
    """Have the prompts' slices shown in a window, HU."""
    return [replace(prompt, window_hu=(low, high)) for prompt in prompts]


class InWindow:
    """A ``Segmenter`` whose every prompt is shown in one window.

    Attributes:
        segmenter: a whole-slice model; others have windows of their own.
        window: of HU.
    """

    def __init__(self, segmenter: Segmenter, window: Window) -> None:
        self.segmenter, self.window = segmenter, window

    @property
    def spec(self) -> SegmenterSpec:
        """The model's registry entry."""
        return self.segmenter.spec

    @property
    def signature(self) -> str:
        """The sha256 of its weights."""
        return self.segmenter.signature

    def segment(
        self,
        volume: Image,
        prompts: Mapping[str, Sequence[SlicePrompt]],
        stopwatch: Stopwatch | None = None,
        mask_prompts: Mapping[str, MaskBlock] | None = None,
    ) -> dict[str, MaskBlock]:
        """See ``Segmenter.segment``."""
        shown = {name: in_window(own, self.window.low, self.window.high) for name, own in prompts.items()}
        return self.segmenter.segment(volume, shown, stopwatch, mask_prompts)


def hu_in_boxes(volume: Image, prompts: Sequence[SlicePrompt]) -> NDArray[np.generic]:
    """Collect the HU of all pixels whose centres lie in the boxes, (N,)."""
    found = [np.zeros(0, volume.array.dtype)]
    for prompt in prompts:
        x0, y0, x1, y1 = (int(np.ceil(side)) for side in prompt.box_xyxy)
        found.append(volume.array[prompt.z, max(y0, 0) : y1, max(x0, 0) : x1].ravel())
    return np.concatenate(found)
