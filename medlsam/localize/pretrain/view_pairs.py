"""Pairs of augmented views of one scan, or of two of one patient, with the exact place in the scan of every view voxel.

A view is a crop under a random rotation, scaling, shift and bend. Its voxels keep their place in the *scan*
(millimetres), so both losses compare places, not augmented coordinates: to predict offsets between a stretched and a
plain view, a network has to learn anatomy rather than count voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.localize.pretrain.view_transform import Frame, ScanReader, ViewPlan, plan_view, random_frame
from medlsam.volume.hounsfield import BODY_HU


@dataclass(frozen=True)
class ViewOptions:
    """How views are drawn.

    Attributes:
        shape_zyx: voxels of a view, multiples of 16.
        rotation_deg: largest rotation about each axis.
        scale: largest relative stretch of each axis (0.12 is 12 %).
        shift_mm: largest distance per axis between the centres of the two views of a pair.
        far_probability: chance that the second view lies anywhere in the scan, which teaches long distances.
        elastic_mm: standard deviation of a smooth random displacement (0: none).
        cut_probability: chance that a field-of-view cut turns part of a view into air.
        points: common places per pair.
        negatives: further places per view that serve as negatives.
    """

    shape_zyx: tuple[int, int, int] = (48, 64, 64)
    rotation_deg: float = 15.0
    scale: float = 0.12
    shift_mm: float = 64.0
    far_probability: float = 0.0
    elastic_mm: float = 0.0
    cut_probability: float = 0.3
    points: int = 256
    negatives: int = 512


@dataclass(frozen=True, eq=False)
class PairPlan:
    """Two views of one patient, still to be drawn, and points common to both. Points are (x, y, z).

    Attributes:
        views: the plans of the two views.
        points: (2, N, 3) view voxel indices of the common places.
        places: (N, 3) their places in the scan, mm (x, y, z from the first voxel of the first view's scan).
        valid: (N,) whether a point is real or only padding.
        negatives: (2, M, 3) view voxel indices of further places.
        negative_places: (2, M, 3) their places in the scan, mm.
    """

    views: tuple[ViewPlan, ViewPlan]
    points: Tensor
    places: Tensor
    valid: Tensor
    negatives: Tensor
    negative_places: Tensor


def _draw_cut(
    shape_zyx: tuple[int, int, int], probability: float, rng: np.random.Generator
) -> tuple[tuple[int, int], ...]:
    """Draw a field-of-view cut: (start, stop) along each axis of the part of a view that is left."""
    keep = [(0, size) for size in shape_zyx]
    if rng.random() < probability:
        for axis, size in enumerate(shape_zyx):
            if rng.random() < 0.5:
                left = int(size * rng.uniform(0.55, 0.95))
                keep[axis] = (0, left) if rng.random() < 0.5 else (size - left, size)
    return tuple(keep)


@dataclass(frozen=True, eq=False)
class PlacedScan:
    """A scan of the same patient at the same time, on a grid of the same spacing that may begin elsewhere.

    Attributes:
        scan: HU.
        start: (3,) where its first voxel lies, in voxels (x, y, z) of the scan that places are counted in.
    """

    scan: ScanReader
    start: NDArray[np.float64]


def _in_body(placed: PlacedScan, places: np.ndarray) -> np.ndarray:
    """Say which places (N, 3), (x, y, z), lie in the scan and are denser than air: (N,) boolean."""
    scan = placed.scan
    nearest = np.rint(places - placed.start).astype(int)
    inside = np.asarray(((nearest >= 0) & (nearest < scan.shape_zyx[::-1])).all(axis=-1))
    values = scan.values_at(np.where(inside[:, None], nearest, 0)[:, ::-1])
    return np.asarray(inside & (values > BODY_HU))


def _places_in(
    placed: PlacedScan, frame: Frame, plan: ViewPlan, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw ``count`` body places of a view; any place where there is too little body.

    Returns:
        (count, 3) view voxels, (count, 3) places, and (count,) whether they are body.
    """
    points = rng.uniform(0, np.array(frame.shape_zyx[::-1]) - 1, (count * 6, 3))
    places = frame.to_places(points)
    body = _in_body(placed, places) & plan.uncut(points)
    order = np.argsort(~body, kind="stable")[:count]
    return points[order], places[order], body[order]


def _centres(
    placed: Sequence[PlacedScan], spacing_mm: float, options: ViewOptions, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw the places (x, y, z) of the two views' centres; in the body if a few tries find it."""
    half = np.array(options.shape_zyx[::-1]) / 2

    def limits(one: PlacedScan) -> tuple[np.ndarray, np.ndarray]:
        # Centres keep at least a third of the view inside the scan.
        size = np.array(one.scan.shape_zyx[::-1], dtype=float)
        low, high = np.minimum(half * 2 / 3, size / 2), np.maximum(size - half * 2 / 3, size / 2)
        return low + one.start, high + one.start

    def anywhere(one: PlacedScan) -> np.ndarray:
        size = np.array(one.scan.shape_zyx[::-1])
        for _ in range(8):
            centre = rng.uniform(*limits(one))
            i = np.clip(np.rint(centre - one.start).astype(int), 0, size - 1)
            if one.scan.values_at(i[None, ::-1])[0] > BODY_HU:
                break
        return np.asarray(centre)

    first = anywhere(placed[0])
    if rng.random() < options.far_probability:
        return [first, anywhere(placed[1])]
    shift = rng.uniform(-options.shift_mm, options.shift_mm, 3) / spacing_mm
    return [first, np.clip(first + shift, *limits(placed[1]))]


def plan_pair(
    scan: ScanReader,
    spacing_mm: float,
    options: ViewOptions,
    rng: np.random.Generator,
    second: PlacedScan | None = None,
) -> PairPlan:
    """Plan two overlapping augmented views of a scan, still to be drawn.

    Args:
        scan: HU on an isotropic grid; two blocks of it and some single voxels are read.
        spacing_mm: of that grid.
        options: how to draw.
        rng: the only source of chance.
        second: the scan that the second view shows, such as another contrast phase; the same scan where None.
    """
    one = PlacedScan(scan, np.zeros(3))
    placed = (one, second or one)
    frames = [
        random_frame(
            options.shape_zyx,
            centre,
            options.rotation_deg,
            options.scale,
            options.elastic_mm / spacing_mm,
            rng,
        )
        for centre in _centres(placed, spacing_mm, options, rng)
    ]
    cuts = [_draw_cut(options.shape_zyx, options.cut_probability, rng) for _ in frames]
    # Frames map to places; a scan that begins elsewhere is read at its own voxels.
    plans = [
        plan_view(p.scan, replace(frame, centre=frame.centre - p.start), keep)
        for p, frame, keep in zip(placed, frames, cuts, strict=True)
    ]

    first, places, body = _places_in(one, frames[0], plans[0], options.points * 6, rng)
    inner = frames[1].to_points(places)
    seen = body & frames[1].inside(inner) & plans[1].uncut(inner)
    if second is not None:
        # It may end where the first one goes on.
        seen &= _in_body(second, places)
    keep = np.flatnonzero(seen)[: options.points]
    valid = np.zeros(options.points, dtype=bool)
    valid[: len(keep)] = True
    padding = np.zeros((options.points - len(keep), 3))
    chosen = [np.concatenate([a[keep], padding]) for a in (first, inner, places)]
    others = [
        _places_in(which, frame, plan, options.negatives, rng)
        for which, frame, plan in zip(placed, frames, plans, strict=True)
    ]

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32)

    return PairPlan(
        views=(plans[0], plans[1]),
        points=tensor(np.stack(chosen[:2])),
        places=tensor(chosen[2] * spacing_mm),
        valid=torch.as_tensor(valid),
        negatives=tensor(np.stack([o[0] for o in others])),
        negative_places=tensor(np.stack([o[1] for o in others]) * spacing_mm),
    )
