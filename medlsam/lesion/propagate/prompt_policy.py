"""From a person's mark to the prompt of the key slice: 3DLAND's second phase.

A policy scales the box, and adds a point in its centre and points outside. A pair of RECIST diameters has an ellipse,
whose box is the prompt and which is a mask prompt as well; a point alone has boxes of several sizes, of which the
one that its own mask fills best is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medlsam.geometry import Grid
from medlsam.lesion.propagate.appearance import learn_appearance
from medlsam.lesion.propagate.key_slice import box_in_slice, inside, key_slice, point_in_slice, recist_ellipse
from medlsam.lesion.propagate.planes import in_plane
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt, oracle_slices, shrink, with_center_point, with_outside_points
from medlsam.segment.protocol import Segmenter
from medlsam.volume import Image

Plane = NDArray[np.float32]
# Edges that are tried for a lesion of which only a point is known, mm.
_POINT_MM = (12.0, 18.0, 27.0, 40.0, 60.0, 90.0)


@dataclass(frozen=True)
class PromptPolicy:
    """How the key slice is prompted.

    Attributes:
        scale: of the box about its centre.
        center_point: add a point in the middle.
        outside_points: add a point beyond the middle of each side of the box as it was drawn.
        error_mm: standard deviation of the drawn box's sides, which ``sam-tiny`` is told; 0 for a tight box, None where
            it is unknown.
        ellipse: give the ellipse of RECIST diameters as a mask prompt.
    """

    scale: float = 1.0
    center_point: bool = False
    outside_points: bool = False
    error_mm: float | None = 1.0
    ellipse: bool = False

    @property
    def name(self) -> str:
        """As the tables of ``benchmarks/lesion`` call it."""
        parts = [f"{100 * self.scale:.0f} %"]
        parts += ["+ centre"] * self.center_point + ["+ outside"] * self.outside_points
        return " ".join(parts)


#: Box scales of 3DLAND's ablation, with and without a point in the centre and points outside. A box that was made
#: smaller does not touch the lesion, so it is not said to be exact.
POLICIES = tuple(
    PromptPolicy(scale, center, outside, 0.0 if scale == 1 else None)
    for center, outside, scale in product((False, True), (False, True), (1.0, 0.9, 0.8, 0.7, 0.6))
)
#: Of a drawn box, and of RECIST diameters, whose box is smaller than the lesion's: what measured best (record 0071).
BOX_POLICY = PromptPolicy()
RECIST_POLICY = PromptPolicy(ellipse=True)


def policy_for(prompt: LesionPrompt) -> PromptPolicy:
    """The default of a kind of mark."""
    return RECIST_POLICY if prompt.kind == "recist" else BOX_POLICY


def key_prompt(
    prompt: LesionPrompt, grid: Grid, policy: PromptPolicy, box: tuple[float, float, float, float]
) -> SlicePrompt:
    """Make the key slice's prompt of a box, by a policy; points of the person's own are kept."""
    made = SlicePrompt(key_slice(prompt, grid), box, error_mm=policy.error_mm)
    own = None if prompt.point is None else point_in_slice(prompt, grid)
    outside = [tuple(grid.lps_to_ijk(place)[:2].tolist()) for place in prompt.outside]
    if policy.outside_points:
        outside += with_outside_points([made])[0].outside_xy
    if policy.center_point:
        made = with_center_point([made])[0]
    if policy.scale != 1:
        made = replace(shrink([made], policy.scale)[0], error_mm=policy.error_mm)
    return replace(made, point_xy=own or made.point_xy, outside_xy=tuple(outside))


def segment_key_slice(
    segmenter: Segmenter,
    volume: Image,
    prompt: LesionPrompt,
    policy: PromptPolicy | None = None,
    stopwatch: Stopwatch | None = None,
) -> tuple[int, Plane]:
    """Segment a lesion on its key slice.

    Args:
        segmenter: any registered model.
        volume: canonical scan, HU.
        prompt: the lesion.
        policy: None for the default of its kind.
        stopwatch: records the segmenter's seconds.

    Returns:
        The slice's index and (rows, columns) probabilities.

    Raises:
        GeometryError: the mark lies outside of the scan.
    """
    policy, grid = policy or policy_for(prompt), volume.grid
    if prompt.kind == "point":
        return _from_point(segmenter, volume, prompt, policy, stopwatch)
    rough: dict[str, MaskBlock] = {}
    if prompt.kind == "recist":
        ellipse, box = recist_ellipse(prompt, grid)
        if policy.ellipse:
            rough["key"] = MaskBlock((key_slice(prompt, grid), 0, 0), ellipse[None])
    else:
        box = box_in_slice(prompt, grid)
    asked = key_prompt(prompt, grid, policy, box)
    found = segmenter.segment(volume, {"key": [asked]}, stopwatch=stopwatch, mask_prompts=rough)
    return asked.z, in_plane(found["key"], asked.z, volume.array.shape[1:])


def _from_point(
    segmenter: Segmenter,
    volume: Image,
    prompt: LesionPrompt,
    policy: PromptPolicy,
    stopwatch: Stopwatch | None,
) -> tuple[int, Plane]:
    """Try boxes of several sizes about a point, and keep the one that fits its mask best."""
    grid = volume.grid
    x, y = point_in_slice(prompt, grid)
    sx, sy, _ = grid.spacing_xyz
    asked: dict[str, Sequence[SlicePrompt]] = {}
    for edge in _POINT_MM:
        drawn = (x - edge / 2 / sx, y - edge / 2 / sy, x + edge / 2 / sx, y + edge / 2 / sy)
        box = inside(drawn, grid, prompt.name)
        asked[f"{edge:g}"] = [key_prompt(prompt, grid, replace(policy, error_mm=max(2.0, edge / 10)), box)]
    best = _best_fit(segmenter.segment(volume, asked, stopwatch=stopwatch), asked, volume)
    z = key_slice(prompt, grid)
    if not (best >= 0.5).any():
        return z, best
    # the box of what was found is the better prompt
    again = key_prompt(prompt, grid, policy, oracle_slices((best >= 0.5)[None])[0].box_xyxy)
    again = replace(again, error_mm=2.0)
    return z, in_plane(
        segmenter.segment(volume, {"key": [again]}, stopwatch=stopwatch)["key"], z, volume.array.shape[1:]
    )


def _best_fit(
    found: Mapping[str, MaskBlock], asked: Mapping[str, Sequence[SlicePrompt]], volume: Image
) -> Plane:
    """Choose the mask that is most certain, fills its box, and looks unlike what surrounds it.

    Inside a large lesion a small box is filled as well; only its mask has nothing different around it.
    """
    best, most = np.zeros(volume.array.shape[1:], np.float32), -1.0
    for name, (prompt,) in asked.items():
        plane = in_plane(found[name], prompt.z, best.shape)
        mask = plane >= 0.5
        if mask.sum() < 3:
            continue
        certain = float(np.abs(2 * plane[plane >= 0.1] - 1).mean())
        looks = learn_appearance(volume.array[prompt.z], mask, volume.grid)
        differs = max(looks.inside - looks.around, 0.0)
        fit = certain * differs * _iou(oracle_slices(mask[None])[0].box_xyxy, prompt.box_xyxy)
        if fit > most:
            best, most = plane, fit
    return best


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    sides = [max(0.0, min(one[a + 2], other[a + 2]) - max(one[a], other[a])) for a in (0, 1)]
    common = math.prod(sides)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / max(sum(areas) - common, 1e-9)
