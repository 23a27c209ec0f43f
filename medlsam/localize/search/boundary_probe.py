"""Boundary probe: a ridge regression from features to inside or outside, trained on the templates' masks.

Matched landmarks say where a structure usually ends next to its surroundings; the extent of this patient's parotid
shows only in its own voxels. So each template with a mask also keeps the sums of a regression from features (and the
place in the box) to inside or outside. Sums of several templates add up, so any subset is solved in a moment:
leave-one-out stays exact, and no voxel is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from medlsam.geometry import Box, Grid, filled, hat_weights
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.templates.template_set import KEPT_STRUCTURES, StructureTemplate

#: The probe looks at a lattice over the box grown by this much, this far apart, of at most so many places.
GROWTH_MM = 20.0
STEP_MM = 4.0
MOST_PLACES = 20_000
#: Templates' boxes are moved by this much (standard deviation), as located boxes are wrong.
JITTER_MM = 5.0
#: Networks with longer features than this get no probe: its sums grow with the square.
MOST_FEATURES = 160
#: Ridge: this share of the mean diagonal.
RIDGE = 0.01
#: Unit vectors of 32 have entries of about 0.2; this puts them on the scale of the place in the box.
FEATURE_GAIN = 3.0


@dataclass(frozen=True, eq=False)
class _Lattice:
    """Places over a grown box: their coordinates along (x, y, z), LPS mm."""

    axes: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    @property
    def places(self) -> NDArray[np.float64]:
        """(N, 3) LPS mm, z fastest."""
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _lattice(box: Box, growth_mm: float | NDArray[np.float64] = GROWTH_MM) -> _Lattice:
    low, high = np.asarray(box.min) - growth_mm, np.asarray(box.max) + growth_mm
    step = max(STEP_MM, float(np.prod(high - low) / MOST_PLACES) ** (1 / 3))
    x, y, z = (np.arange(a + step / 2, b, step) for a, b in zip(low, high, strict=True))
    return _Lattice((x, y, z))


def _in_box(places: NDArray[np.float64], axis: int | slice, box: Box) -> NDArray[np.float64]:
    """Place in a box along an axis: -1 and 1 at its faces, clipped at 2."""
    middle, size = np.asarray(box.center)[axis], np.asarray(box.size)[axis]
    return np.asarray(np.clip(2 * (places - middle) / size, -2, 2))


def _rows(embedding: ScanEmbedding, lattice: _Lattice, box: Box) -> NDArray[np.float64]:
    """Build the regression's rows (N, F + 7): features, place in the box and its square, one."""
    with torch.inference_mode():
        features = embedding.read_lattice(lattice.axes).double().numpy()
    place = _in_box(lattice.places, slice(None), box)
    return np.concatenate([FEATURE_GAIN * features, place, place**2, np.ones((len(place), 1))], axis=1)


def _scores(
    embedding: ScanEmbedding, lattice: _Lattice, box: Box, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute ``_rows`` times weights in the lattice's shape, without making the rows."""
    own, linear, square = weights[:-7], weights[-7:-4], weights[-4:-1]
    with torch.inference_mode():
        direction = torch.from_numpy(FEATURE_GAIN * own).float()
        score = embedding.project_lattice(lattice.axes, direction).double().numpy()
    score = score.reshape(lattice.shape) + weights[-1]
    for axis, places in enumerate(lattice.axes):
        place = _in_box(places, axis, box)
        along = place * linear[axis] + place**2 * square[axis]
        score += along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(score)


def probe_sums(
    embedding: ScanEmbedding, mask: NDArray[np.bool_], grid: Grid, box: Box, length: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute one template's sums for the regression, from its own box and one moved as located boxes are wrong.

    Args:
        embedding: the template's scan.
        mask: (Z, Y, X) on a canonical grid.
        grid: the mask's grid.
        box: the mask's, LPS mm.
        length: of the features.

    Returns:
        The upper triangle of the weighted Gram matrix, and the (F + 7,) weighted sums; empty where features are too
        long.
    """
    if length > MOST_FEATURES:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    moved = box.faces + np.random.default_rng(0).normal(0, JITTER_MM, 6)
    gram, target = np.zeros((length + 7,) * 2), np.zeros(length + 7)
    for around in (box, Box.from_faces(moved) if (moved[1::2] > moved[::2]).all() else box):
        lattice = _lattice(around)
        index = (lattice.places - np.asarray(grid.origin_xyz)) / np.asarray(grid.spacing_xyz)
        share = ndimage.map_coordinates(mask.astype(np.float32), index[:, ::-1].T, order=1)
        inside = share > 0.5
        # Inside and outside count the same, however much of the lattice each fills.
        weight = np.where(inside, 0.5 / max(inside.sum(), 1), 0.5 / max((~inside).sum(), 1))
        rows = _rows(embedding, lattice, around)
        gram += (rows * weight[:, None]).T @ rows / 2
        target += (rows * weight[:, None]).T @ (2 * share - 1) / 2
    return gram[np.triu_indices(len(gram))].astype(np.float32), target.astype(np.float32)


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """A probe's scores around one box.

    Attributes:
        score: on the lattice, smoothed a little: above 0 is inside.
        lattice: places over the grown box.
        box: as located, LPS mm.
    """

    score: NDArray[np.float64]
    lattice: _Lattice
    box: Box

    @property
    def faces(self) -> NDArray[np.float64]:
        """(6,) LPS mm of the largest connected part that scores as inside; the box's own where there is none."""
        pieces, count = ndimage.label(self.score > 0)
        if not count:
            return np.asarray(self.box.faces)
        sizes = ndimage.sum_labels(np.ones_like(self.score), pieces, np.arange(1, count + 1))
        piece = pieces == 1 + int(np.argmax(sizes))
        near = np.where(ndimage.binary_dilation(piece), self.score, -np.inf)
        faces = []
        for axis, places in enumerate(self.lattice.axes):
            others = tuple(a for a in range(3) if a != axis)
            profile, levels = near.max(axis=others), filled(piece, axis)
            faces += [_crossing(profile, places, levels[0], -1), _crossing(profile, places, levels[-1], 1)]
        return np.asarray(faces)

    def contrast(self, shape: NDArray[np.float32]) -> float:
        """Compute how clearly the structure stands out: scores inside against around it, in standard deviations.

        This shows whether the structure is there at all.

        Args:
            shape: (D, H, W) the templates' mean mask in its box, 0 to 1, along (z, y, x).
        """
        shares = []
        for axis, places in enumerate(self.lattice.axes):
            count = shape.shape[2 - axis]
            index = (places - self.box.min[axis]) / self.box.size[axis] * count - 0.5
            shares.append(torch.from_numpy(hat_weights(index, np.arange(count))))
        x, y, z = shares
        # By torch: numpy's own threads and torch's would wait for each other.
        along_x = torch.from_numpy(shape.astype(np.float64)) @ x.T
        prior = torch.tensordot(z, y @ along_x, dims=1).permute(2, 1, 0).numpy()
        inside, outside = prior > 0.5 * prior.max(), prior < 0.1 * prior.max()
        if not inside.any() or not outside.any():
            return 0.0
        there, around = self.score[inside], self.score[outside]
        return float((there.mean() - around.mean()) / np.sqrt((there.var() + around.var()) / 2 + 1e-6))


def _crossing(profile: NDArray[np.float64], places: NDArray[np.float64], last: int, step: int) -> float:
    """Find the place (mm) where a profile falls through zero, between its last positive level and the next outwards."""
    following = last + step
    if not 0 <= following < len(profile) or not np.isfinite(profile[following]):
        return float(places[last])
    share = profile[last] / (profile[last] - profile[following] + 1e-9)
    return float(places[last] + np.clip(share, 0, 1) * (places[following] - places[last]))


@dataclass(frozen=True, eq=False)
class Probe:
    """The solved regression of one structure.

    Attributes:
        weights: (F + 7,) in the order of the rows: features, place, its square, one.
    """

    weights: NDArray[np.float64]

    def apply(
        self, embedding: ScanEmbedding, box: Box, growth_mm: float | NDArray[np.float64] = GROWTH_MM
    ) -> ProbeResult:
        """Score a lattice over a box and its surroundings.

        Args:
            embedding: the scan.
            box: as located by the search, LPS mm.
            growth_mm: margin of the lattice around it, one number or (3,) along (x, y, z).
        """
        lattice = _lattice(box, growth_mm)
        score = _scores(embedding, lattice, box, self.weights)
        return ProbeResult(np.asarray(ndimage.gaussian_filter(score, 0.7)), lattice, box)


def fit_probe(templates: Sequence[StructureTemplate]) -> Probe | None:
    """Solve the regression from the sums of those templates that have a mask; None where none has."""
    return _fitted(tuple(templates))


@lru_cache(maxsize=KEPT_STRUCTURES)
def _fitted(templates: tuple[StructureTemplate, ...]) -> Probe | None:
    having = [s for s in templates if s.probe_target.size]
    if not having:
        return None
    target = np.mean([s.probe_target for s in having], axis=0).astype(float)
    gram = np.zeros((len(target),) * 2)
    gram[np.triu_indices(len(target))] = np.mean([s.probe_gram for s in having], axis=0)
    gram += np.triu(gram, 1).T
    gram[np.diag_indices(len(target))] += RIDGE * np.trace(gram) / len(target)
    return Probe(np.asarray(np.linalg.solve(gram, target)))
