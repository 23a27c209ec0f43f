"""Mask prompts of training samples: the mean shape of other patients, and masks that are nearly right.

What is nearly right is what another network hands over: edges some millimetres off, now and then a piece too few or too
many, sharp or blurred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from medlsam.segment.sam_tiny.crops import sample
from medlsam.segment.sam_tiny.train_arrays import Structure, TrainingCase
from medlsam.segment.sam_tiny.train_plane import TurnedPlane

SHAPE_ZYX = (24, 32, 32)
#: Masks of every case, (case, mask of its box at ``SHAPE_ZYX``) by structure.
Shapes = dict[str, list[tuple[str, NDArray[np.uint8]]]]

# Rough masks are made in a square of so many cells, which is wider than the mask by a margin on each side.
_CELLS, _MARGIN_MM = 64, 16.0
# Standard deviations: of the whole mask's place and size, and range of that of its outline, mm.
_SHIFT_MM, _GROWN_MM, _BENT_MM = 0.8, 1.0, (0.5, 2.2)
# Waves of the outline are some such lengths.
_WAVES_MM = (12.0, 40.0)
# A mask narrower than this is disturbed less, in proportion, down to a third.
_FIRM_MM, _LEAST_FIRM = 20.0, 0.35
# Share of masks with a piece too many and of those with one too few; radius in parts of the longest edge, and in mm.
_ADDED, _MISSING, _PIECE, _PIECE_MM = 0.12, 0.12, (0.12, 0.35), (4.0, 30.0)
# Half of the pieces too many hold tissue of the structure's HU alone.
_ALIKE_HU = 40.0
# Width of the outline's blur, mm.
_SOFT_MM = (0.4, 3.0)
# Slices that a rough mask may come from lie so far off, standard deviation, mm.
_ALONG_MM = 2.0
# A smaller rough mask is none.
_FEWEST_CELLS = 6


@dataclass(frozen=True)
class MaskPrompt:
    """A mask prompt in the turned millimetres of a plane.

    Attributes:
        probability: (rows, columns), float32.
        where: (4,) x0, y0, x1, y1 that it fills.
    """

    probability: NDArray[np.float32]
    where: NDArray[np.float64]


def collect_shapes(cases: Sequence[TrainingCase]) -> Shapes:
    """Collect (case, mask of its box at ``SHAPE_ZYX``) of every case, by structure."""
    shapes: Shapes = {}
    for case in cases:
        for structure in case.structures:
            part = case.labels[structure.where] == structure.value
            picks = [
                ((np.arange(n) + 0.5) / n * m).astype(int) for n, m in zip(SHAPE_ZYX, part.shape, strict=True)
            ]
            shapes.setdefault(structure.name, []).append((case.name, part[np.ix_(*picks)].astype(np.uint8)))
    return shapes


def mean_shape(
    shapes: Shapes,
    case: TrainingCase,
    structure: Structure,
    index: int,
    box: NDArray[np.float64],
    mirrored: bool,
    rng: np.random.Generator,
) -> MaskPrompt | None:
    """Average the shapes of up to five other patients at a height of a structure; None where nobody else has it.

    Args:
        shapes: of all cases.
        case: that the shape is for; its own mask is left out.
        structure: to average.
        index: axial slice.
        box: (4,) turned mm that the structure is thought to fill.
        mirrored: whether the plane is.
        rng: the only source of chance.
    """
    others = [shape for name, shape in shapes.get(structure.name, []) if name != case.name]
    if not others:
        return None
    chosen = rng.choice(len(others), size=min(len(others), int(rng.integers(3, 6))), replace=False)
    mean = np.stack([others[k] for k in chosen]).mean(axis=0, dtype=np.float32)
    low, high = structure.where[0].start, structure.where[0].stop
    ends = np.array([low, high]) + rng.normal(0, 0.08, 2) * (high - low)
    height = (index + 0.5 - ends[0]) / max(ends[1] - ends[0], 1e-3)
    level = int(np.clip(height * SHAPE_ZYX[0], 0, SHAPE_ZYX[0] - 1))
    shape: NDArray[np.float32] = mean[level, :, ::-1] if mirrored else mean[level]
    return MaskPrompt(np.ascontiguousarray(shape), box)


def near_slice(index: int, spacing_mm: float, rng: np.random.Generator) -> int:
    """Draw the slice that a rough mask comes from: mostly ``index`` or one beside it."""
    return index + round(float(rng.normal(0, _ALONG_MM)) / max(spacing_mm, 1.0))


def rough_mask(
    plane: TurnedPlane,
    mask: NDArray[np.bool_],
    index: int,
    rng: np.random.Generator,
    shrunk_mm: float = 0.0,
) -> tuple[MaskPrompt, NDArray[np.float64]] | None:
    """Make a mask that is nearly right out of a true one.

    Args:
        plane: of the scan.
        mask: (rows, columns) true mask of this slice or of one beside it, not empty.
        index: of this slice, whose tissue an added piece follows.
        rng: the only source of chance.
        shrunk_mm: how much smaller it is made beside all else.

    Returns:
        The mask prompt, and the tight box, (4,) turned mm, of where it is over a half; None where nothing is left.
    """
    tight = plane.tight_box(mask)
    edges = tight[2:] - tight[:2]
    side, center = float(edges.max()) + 2 * _MARGIN_MM, (tight[:2] + tight[2:]) / 2
    step, frame = side / _CELLS, plane.frame(center, side)
    inside = sample([mask.view(np.uint8)], frame, _CELLS, fill=0.0)[0].numpy() > 0.5
    if not inside.any():
        return None
    distance = _distance(inside) * step
    firm = float(np.clip(edges.min() / _FIRM_MM, _LEAST_FIRM, 1.0))
    bent = float(rng.uniform(*_BENT_MM)) * _waves(side, rng)
    distance += firm * (bent + float(rng.normal(0, _GROWN_MM))) - shrunk_mm
    kind = rng.random()
    if kind < _ADDED + _MISSING:
        reach = float(np.clip(rng.uniform(*_PIECE) * edges.max(), *_PIECE_MM))
        piece = _disc(inside, reach / step, rng) * step
        if kind < _MISSING:
            distance = np.minimum(distance, -piece)
        else:
            if rng.random() < 0.5:
                stack = np.moveaxis(plane.case.image, plane.axis, 0)
                hu = ndimage.uniform_filter(sample([stack[index]], frame, _CELLS)[0].numpy(), 3)
                alike = np.abs(hu - np.median(hu[inside])) < _ALIKE_HU
                piece = np.minimum(piece, np.where(alike, step, -step))
            distance = np.maximum(distance, piece)
    soft = math.exp(rng.uniform(*np.log(_SOFT_MM)))
    probability = 1 / (1 + np.exp(-np.clip(distance / soft, -12, 12)))
    rows, columns = (np.flatnonzero((distance > 0).any(axis=a)) for a in (1, 0))
    if np.count_nonzero(distance > 0) < _FEWEST_CELLS:
        return None
    low = center - side / 2 + firm * rng.normal(0, _SHIFT_MM, 2)
    box = np.tile(low, 2) + step * np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return MaskPrompt(probability.astype(np.float32), np.concatenate([low, low + side])), box


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the distance from the outline, in cells: positive inside, negative outside."""
    within, without = (ndimage.distance_transform_edt(part) for part in (inside, ~inside))
    return np.asarray(np.where(inside, within - 0.5, 0.5 - without))


def _waves(side: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth field, (cells, cells), of standard deviation about 1."""
    count = max(2, round(side / float(rng.uniform(*_WAVES_MM)))) + 1
    coarse = torch.from_numpy(rng.standard_normal((1, 1, count, count)))
    return functional.interpolate(coarse, size=(_CELLS, _CELLS), mode="bicubic", align_corners=True)[
        0, 0
    ].numpy()


def _disc(inside: NDArray[np.bool_], radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the distance, in cells, from the border of a disc around a place of the outline: positive inside."""
    border = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    y, x = border[rng.integers(len(border))]
    rows, columns = np.ogrid[:_CELLS, :_CELLS]
    return np.asarray(radius - np.hypot(rows - y, columns - x))
