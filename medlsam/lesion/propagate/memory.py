"""From the key slice to the whole lesion: 3DLAND's third phase, the role that MedSAM2 has there.

MedSAM2 keeps a memory of past slices that conditions the next one. This works with every registered segmenter, through
what all of them take: boxes and masks. The memory holds

- the masks of the key slice and of the slices reached last, from which the next box comes,
- the lesion as coronal and sagittal slices show it (``side_views``): they cross all axial slices, so they say where the
  lesion ends before the axial slices are looked at,
- how the lesion and its surroundings look (``appearance``): a slice whose mask looks like the surroundings ends it.

From the key slice the slices above and below are segmented one after another, each with the box that the memory
expects. A direction ends by itself where memory and slice do not agree on a mask any more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medlsam.lesion.propagate.appearance import Appearance, learn_appearance
from medlsam.lesion.propagate.planes import Region, connected_to, region_around, tight_box
from medlsam.lesion.propagate.side_views import side_views
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image

Plane = NDArray[np.float32]
# A lesion ends where its mask has fewer pixels.
_MIN_PIXELS = 4


@dataclass(frozen=True)
class MemoryOptions:
    """What is remembered, and how much it counts. The defaults were chosen on sts_001 to sts_007 (record 0071).

    Attributes:
        past: slices before the next one whose masks are remembered, beside the key slice.
        views: slices of each side plane that are looked at; 0 for none.
        rounds: how often each is looked at, with a box that follows its mask.
        view_error_mm: error of the boxes of the first rounds, which nobody drew.
        view_weight: weight of the side views, 0 to 1, beside the slice's own mask.
        error_mm: error of the boxes that the memory expects.
        mask_prompt: whether the expected mask is a mask prompt as well.
        likeness: a slice ends the lesion where its mask looks less like the lesion than this, from 0 (as the
            surroundings of the key slice) to 1 (as the lesion there).
        reach_mm: the farthest that a lesion may reach from its key slice.
    """

    past: int = 2
    views: int = 8
    rounds: int = 3
    view_error_mm: float = 6.0
    view_weight: float = 0.4
    error_mm: float = 2.0
    mask_prompt: bool = False
    likeness: float = 0.3
    reach_mm: float = 200.0


@dataclass
class LesionMemory:
    """What is known of a lesion while one direction is gone through.

    Attributes:
        key: probabilities of the key slice, (rows, columns) of the region.
        views: (Z, rows, columns) probabilities by the side views; all 0 where there are none.
        appearance: how the lesion looks.
        options: what counts how much.
        recent: probabilities of the slices reached last, the newest at the end.
    """

    key: Plane
    views: NDArray[np.float32]
    appearance: Appearance
    options: MemoryOptions
    recent: deque[Plane] = field(default_factory=deque)

    def expects(self, z: int) -> Plane:
        """Expect the mask of a slice (index in the region): of the slices before it and of the side views."""
        before = np.mean([*self.recent], axis=0, dtype=np.float32)
        if not self.views[z].any():
            return np.asarray(before)
        return np.asarray((before + self.views[z]) / 2, dtype=np.float32)

    def agrees(self, z: int, own: Plane, hu: NDArray[np.generic]) -> Plane | None:
        """Weigh a slice's own mask with the memory, and remember the result.

        Args:
            z: the slice's index in the region.
            own: probabilities that the segmenter gave.
            hu: of the slice, the same rows and columns.

        Returns:
            Probabilities; None where the lesion has ended.
        """
        weight = self.options.view_weight if self.options.views else 0.0
        found = (1 - weight) * own + weight * self.views[z]
        mask = found >= 0.5
        last = self.recent[-1] >= 0.5
        mask = connected_to(mask, mask & last)
        if mask.sum() < _MIN_PIXELS or self.appearance.likeness(hu, mask) < self.options.likeness:
            return None
        found = np.where(mask | (found < 0.5), found, 0).astype(np.float32)
        self.recent.append(found)
        while len(self.recent) > self.options.past:
            self.recent.popleft()
        return found


def propagate_lesion(
    segmenter: Segmenter,
    volume: Image,
    z: int,
    key: Plane,
    options: MemoryOptions | None = None,
    stopwatch: Stopwatch | None = None,
) -> MaskBlock:
    """Propagate a lesion's mask from its key slice, both ways, until it ends.

    Args:
        segmenter: any registered model; whole-slice models encode the slices of the side planes as well.
        volume: canonical scan, HU.
        z: index of the key slice.
        key: its probabilities, (rows, columns).
        options: what is remembered.
        stopwatch: records the segmenter's seconds.

    Returns:
        Probabilities of the lesion: voxels at 0.5 or above are one part with the key slice's mask. Empty where the key
        slice has none.
    """
    options = options or MemoryOptions()
    if (key >= 0.5).sum() < _MIN_PIXELS:
        return MaskBlock((z, 0, 0), np.zeros((0, 0, 0), np.float32))
    region = region_around(key >= 0.5, z, volume, options.reach_mm)
    own = region.plane_of(key)
    whole = np.zeros(region.shape_zyx, np.float32)
    views = whole.copy()
    if options.views:
        views = side_views(segmenter, volume, region, own >= 0.5, options, stopwatch)
    appearance = learn_appearance(region.cut(volume.array, region.key), own >= 0.5, volume.grid)
    whole[region.key] = own
    fronts = {step: LesionMemory(own, views, appearance, options, deque([own])) for step in (1, -1)}
    distance = 0
    while fronts:
        distance += 1
        asked = {}
        for step, memory in fronts.items():
            at = region.key + step * distance
            if 0 <= at < len(whole) and (expected := memory.expects(at)).max() >= 0.5:
                asked[step] = expected
        found = _segment(segmenter, volume, region, asked, distance, options, stopwatch)
        going = {}
        for step, plane in found.items():
            at = region.key + step * distance
            agreed = fronts[step].agrees(at, plane, region.cut(volume.array, at))
            if agreed is not None:
                whole[at] = agreed
                going[step] = fronts[step]
        fronts = going
    return region.block(whole)


def _segment(
    segmenter: Segmenter,
    volume: Image,
    region: Region,
    asked: dict[int, Plane],
    distance: int,
    options: MemoryOptions,
    stopwatch: Stopwatch | None,
) -> dict[int, Plane]:
    """Segment the next slice of each direction with the box of the mask expected there."""
    prompts, rough, slices = {}, {}, {}
    for step, expected in asked.items():
        if (expected >= 0.5).sum() < _MIN_PIXELS:
            continue
        z = region.origin_zyx[0] + region.key + step * distance
        x0, y0, x1, y1 = tight_box(expected >= 0.5)
        dy, dx = region.origin_zyx[1:]
        name = f"{step:+d}"
        prompts[name] = [SlicePrompt(z, (x0 + dx, y0 + dy, x1 + dx, y1 + dy), error_mm=options.error_mm)]
        slices[name] = (step, z)
        if options.mask_prompt:
            rough[name] = MaskBlock((z, dy, dx), expected[None])
    if not prompts:
        return {}
    answers = segmenter.segment(volume, prompts, stopwatch=stopwatch, mask_prompts=rough)
    return {step: region.plane_in(answers[name], z) for name, (step, z) in slices.items()}
