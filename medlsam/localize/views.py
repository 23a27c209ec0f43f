"""Pairs of augmented views of one scan, with the exact place in the scan of every view voxel.

A view is a crop under a random rotation, scaling and shift. Its voxels keep their place in the *scan*
(millimetres), so both losses compare places, not augmented coordinates: a network that is asked for offsets
between a stretched and a plain view has to learn anatomy rather than to count voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

#: Below this a voxel is taken for air outside the body when points are drawn.
BODY_HU = -500.0
AIR_HU = -1000.0


@dataclass(frozen=True)
class ViewOptions:
    """How views are drawn.

    Attributes:
        shape_zyx: voxels of a view, multiples of 16.
        rotation_deg: largest rotation about each axis.
        scale: largest relative stretch of each axis (0.12 is 12 %).
        shift_mm: largest distance per axis between the centres of the two views of a pair.
        cut_probability: chance that a field-of-view cut turns part of a view into air.
        points: common places per pair.
        negatives: further places per view that serve as negatives.
    """

    shape_zyx: tuple[int, int, int] = (48, 64, 64)
    rotation_deg: float = 15.0
    scale: float = 0.12
    shift_mm: float = 64.0
    cut_probability: float = 0.3
    points: int = 256
    negatives: int = 512


@dataclass(frozen=True)
class ViewPair:
    """Two views of one scan, and points common to both. Points are (x, y, z).

    Attributes:
        views: (2, Z, Y, X) HU.
        points: (2, N, 3) view voxel indices of the common places.
        places: (N, 3) their places in the scan, mm (x, y, z from the scan's first voxel).
        valid: (N,) whether a point is real or only padding.
        negatives: (2, M, 3) view voxel indices of further places.
        negative_places: (2, M, 3) their places in the scan, mm.
    """

    views: Tensor
    points: Tensor
    places: Tensor
    valid: Tensor
    negatives: Tensor
    negative_places: Tensor


def _rotation(angles: np.ndarray) -> np.ndarray:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        matrix = matrix @ turn
    return matrix


def _affine(options: ViewOptions, rng: np.random.Generator) -> np.ndarray:
    """(3, 3): view voxel offsets from the view's centre to scan voxel offsets (x, y, z)."""
    angles = np.deg2rad(rng.uniform(-options.rotation_deg, options.rotation_deg, 3))
    overall = 1 + rng.uniform(-options.scale, options.scale)
    single = 1 + rng.uniform(-options.scale, options.scale, 3) / 2
    return _rotation(angles) * (overall * single)[None]


def _draw(scan: Tensor, to_scan: np.ndarray, centre: np.ndarray, options: ViewOptions) -> Tensor:
    """(Z, Y, X) HU of the view; outside the scan there is air."""
    z, y, x = options.shape_zyx
    middle = (np.array([x, y, z]) - 1) / 2
    axes = [torch.arange(n, dtype=torch.float32) for n in (z, y, x)]
    gz, gy, gx = torch.meshgrid(*axes, indexing="ij")
    voxels = torch.stack([gx, gy, gz], dim=-1) - torch.as_tensor(middle, dtype=torch.float32)
    voxels = voxels @ torch.as_tensor(to_scan.T, dtype=torch.float32) + torch.as_tensor(
        centre, dtype=torch.float32
    )
    sizes = torch.tensor(scan.shape[::-1], dtype=torch.float32)
    # Zero padding stands for air, so HU are shifted by it and back.
    sampled = F.grid_sample(
        (scan.float() - AIR_HU)[None, None], ((2 * voxels + 1) / sizes - 1)[None], align_corners=False
    )
    return sampled[0, 0] + AIR_HU


def _cut(view: Tensor, rng: np.random.Generator) -> Tensor:
    """Turn what lies beyond one random plane per chosen axis, or outside a cylinder, into air."""
    view = view.clone()
    for axis in range(3):
        if rng.random() < 0.5:
            size = view.shape[axis]
            keep = int(size * rng.uniform(0.55, 0.95))
            start = keep if rng.random() < 0.5 else 0
            length = size - keep
            view.narrow(axis, start, length).fill_(AIR_HU)
    return view


def _to_view(places: np.ndarray, to_scan: np.ndarray, centre: np.ndarray, options: ViewOptions) -> np.ndarray:
    z, y, x = options.shape_zyx
    return np.asarray((places - centre) @ np.linalg.inv(to_scan).T + (np.array([x, y, z]) - 1) / 2)


def _inside(points: np.ndarray, options: ViewOptions) -> np.ndarray:
    z, y, x = options.shape_zyx
    return np.asarray(((points >= 0) & (points <= np.array([x, y, z]) - 1)).all(axis=-1))


def _in_body(view: Tensor, points: np.ndarray) -> np.ndarray:
    i = np.rint(points).astype(int)
    return np.asarray(view.numpy()[i[:, 2], i[:, 1], i[:, 0]] > BODY_HU)


def _places_in(
    view: Tensor, to_scan: np.ndarray, centre: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` body places of a view (any place where there is too little body): view voxels, scan voxels."""
    z, y, x = view.shape
    size = np.array([x, y, z])
    points = rng.uniform(0, size - 1, (count * 6, 3))
    body = _in_body(view, points)
    points = np.concatenate([points[body], points[~body]])[:count]
    return points, (points - (size - 1) / 2) @ to_scan.T + centre


def draw_pair(scan: Tensor, spacing_mm: float, options: ViewOptions, rng: np.random.Generator) -> ViewPair:
    """Two overlapping augmented views of a scan.

    Args:
        scan: (Z, Y, X) HU on an isotropic grid.
        spacing_mm: of that grid.
        options: how to draw.
        rng: the only source of chance.
    """
    size = np.array(scan.shape[::-1], dtype=float)
    half = np.array(options.shape_zyx[::-1]) / 2
    # Centres keep at least a third of the view inside the scan, and lie in the body when a few tries find it.
    low, high = np.minimum(half * 2 / 3, size / 2), np.maximum(size - half * 2 / 3, size / 2)
    for _ in range(8):
        centre = rng.uniform(low, high)
        i = np.clip(np.rint(centre).astype(int), 0, size.astype(int) - 1)
        if float(scan[i[2], i[1], i[0]]) > BODY_HU:
            break
    shift = rng.uniform(-options.shift_mm, options.shift_mm, 3) / spacing_mm
    centres = [centre, np.clip(centre + shift, low, high)]
    affines = [_affine(options, rng) for _ in range(2)]
    views = [_draw(scan, a, c, options) for a, c in zip(affines, centres, strict=True)]
    views = [_cut(v, rng) if rng.random() < options.cut_probability else v for v in views]

    first, places = _places_in(views[0], affines[0], centres[0], options.points * 6, rng)
    second = _to_view(places, affines[1], centres[1], options)
    inside = _inside(second, options) & _in_body(views[0], first)
    first, second, places = first[inside], second[inside], places[inside]
    seen = _in_body(views[1], second)
    keep = np.flatnonzero(seen)[: options.points]
    valid = np.zeros(options.points, dtype=bool)
    valid[: len(keep)] = True
    padding = np.zeros((options.points - len(keep), 3))
    chosen = [np.concatenate([a[keep], padding]) for a in (first, second, places)]
    others = [
        _places_in(v, a, c, options.negatives, rng) for v, a, c in zip(views, affines, centres, strict=True)
    ]

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32)

    return ViewPair(
        views=torch.stack(views),
        points=tensor(np.stack(chosen[:2])),
        places=tensor(chosen[2] * spacing_mm),
        valid=torch.as_tensor(valid),
        negatives=tensor(np.stack([o[0] for o in others])),
        negative_places=tensor(np.stack([o[1] for o in others]) * spacing_mm),
    )


def collate(pairs: list[ViewPair]) -> dict[str, Tensor]:
    """Stack the fields of several pairs along a new first axis."""
    fields = ViewPair.__dataclass_fields__
    return {name: torch.stack([getattr(pair, name) for pair in pairs]) for name in fields}
