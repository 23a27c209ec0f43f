"""Every support's answer for every structure: votes of all cells, then windows around what the supports agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.geometry import Box
from medlsam.localize.answer import Answer
from medlsam.localize.landmarks import FACE_POINTS, FACES
from medlsam.localize.match import coarse_consensus
from medlsam.localize.seen import Seen
from medlsam.localize.templates import OrganSupport

#: The six faces, and the axis of each.
_FACE, _AXIS = np.arange(6), np.arange(6) // 2


@dataclass(frozen=True)
class SearchOptions:
    """How the consensus search goes about it (chosen on the pretraining split, see docs/decisions.md).

    Attributes:
        windows_mm: half widths of the successive refinement windows; none for the coarse answer alone.
        temperature: of the soft arg-max.
        own_weight: how much a face follows its own refined point (1) or the fit of all landmarks (0).
        face_weight: of a face's own answer, how much comes from the places beside its extreme point (0 to 1).
        probe: whether the faces follow a probe trained on the templates' masks (consensus search only).
        paper_window_mm: half width of the single window of the paper's mode (64 voxels of 3 mm); 0 for the coarse
            answer alone.
    """

    windows_mm: tuple[float, ...] = (32.0, 16.0)
    temperature: float = 0.03
    own_weight: float = 0.75
    face_weight: float = 0.5
    probe: bool = True
    paper_window_mm: float = 96.0


def fit_axes(
    source: NDArray[np.float64], target: NDArray[np.float64], weight: NDArray[np.float64], rounds: int = 5
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Robust scale and shift per axis: target = scale * source + shift.

    Iteratively reweighted least squares with a Cauchy weight of 8 mm; the scale is drawn towards 1 by a prior worth
    a quarter of the points' own spread, and kept within 0.7 to 1.4.

    Args:
        source: (P, 3) mm.
        target: (P, 3) mm.
        weight: (P,) non-negative.
        rounds: of reweighting.

    Returns:
        scale (3,), shift (3,).
    """
    scale, shift = np.ones(3), np.zeros(3)
    residual = np.zeros_like(source)
    for round_ in range(rounds):
        w = np.repeat(weight[:, None], 3, axis=1)
        if round_:
            w = w / (1 + (residual / 8.0) ** 2)
        total = w.sum(axis=0) + 1e-9
        mean_s, mean_t = (w * source).sum(axis=0) / total, (w * target).sum(axis=0) / total
        ds, dt = source - mean_s, target - mean_t
        variance = (w * ds * ds).sum(axis=0) / total
        prior = 0.25 * variance + 25.0
        scale = np.clip(((w * ds * dt).sum(axis=0) / total + prior) / (variance + prior), 0.7, 1.4)
        shift = mean_t - scale * mean_s
        residual = target - (scale * source + shift)
    return scale, shift


def consensus(
    embedding: Seen, groups: list[tuple[OrganSupport, ...]], options: SearchOptions
) -> list[Answer]:
    """Every support's answer for every structure: coarse for all of them at once, then window by window."""
    sources = [np.stack([s.points for s in group]).astype(float) for group in groups]
    features = [torch.from_numpy(np.stack([s.features for s in group])) for group in groups]
    # The places beside a face say where the face is, not where the structure is: they come last.
    frame = slice(0, FACES.start)
    latents = torch.from_numpy(np.concatenate([s.latents[frame] for group in groups for s in group]))
    votes, spread = coarse_consensus(embedding, latents)
    shapes = [source[:, frame].shape for source in sources]
    sizes = [shape[0] * shape[1] for shape in shapes]
    coarse = [v.double().numpy().reshape(shape) for v, shape in zip(votes.split(sizes), shapes, strict=True)]
    answers = []
    for source, voted, feature, votes_spread in zip(
        sources, coarse, features, spread.split(sizes), strict=True
    ):
        found = voted
        weight = np.ones(found.shape[:2])
        fitted = _fit(source, found, weight)
        for window in options.windows_mm[:-1]:
            found, weight = _shared_windows(embedding, feature[:, frame], fitted[:, frame], window, options)
            fitted = _fit(source, found, weight)
        if options.windows_mm:
            found, weight = _own_windows(embedding, feature, fitted, options.windows_mm[-1], options)
            fitted = _fit(source, found[:, frame], weight[:, frame])
        else:
            found = fitted
        answers.append(
            Answer(
                points=_settle(found, fitted, options),
                coarse=voted,
                similarity=float(weight[:, frame].mean()),
                spread_mm=float(votes_spread.mean()),
                fit_mm=float(np.linalg.norm((found - fitted)[:, frame], axis=-1).mean()),
            )
        )
    return answers


def _shared_windows(
    embedding: Seen, features: Tensor, around: NDArray[np.float64], window: float, options: SearchOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refined places (S, P, 3) and similarities (S, P), all supports in windows around the median of their places."""
    middle = torch.from_numpy(np.median(around, axis=0)).float()
    matches = embedding.refine(features.transpose(0, 1), middle, window, options.temperature)
    return matches.points.transpose(0, 1).double().numpy(), matches.similarity.T.double().numpy()


def _own_windows(
    embedding: Seen, features: Tensor, around: NDArray[np.float64], window: float, options: SearchOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same, each support in windows of its own: extreme points of two patients need not correspond."""
    supports, count = features.shape[:2]
    middle = torch.from_numpy(around.reshape(-1, 3)).float()
    matches = embedding.refine(features.reshape(supports * count, 1, -1), middle, window, options.temperature)
    points = matches.points.double().numpy().reshape(supports, count, 3)
    return points, matches.similarity.double().numpy().reshape(supports, count)


def _settle(
    found: NDArray[np.float64],
    fitted: NDArray[np.float64],
    options: SearchOptions,
) -> NDArray[np.float64]:
    """(S, P, 3): every place between its own answer and the fit; the extreme points also lean on their faces.

    How far a face lies from the fit is asked of all the places on it, not only of its extreme point.
    """
    own = options.own_weight
    points = own * found + (1 - own) * fitted
    if found.shape[1] < FACES.stop:
        return points
    offset = (found - fitted)[:, FACES].reshape(len(found), 6, FACE_POINTS, 3)
    faces, axes = np.arange(6), np.arange(6) // 2
    beside = np.median(offset[:, faces, :, axes], axis=2).T  # (S, 6): indexing puts the faces first
    alone = (found - fitted)[:, faces, axes]
    share = options.face_weight
    points[:, faces, axes] = fitted[:, faces, axes] + own * (share * beside + (1 - share) * alone)
    return points


def _fit(
    source: NDArray[np.float64], found: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(S, P, 3): where each support's places land when the first of them as a whole are fitted to their answers.

    Args:
        source: (S, P, 3) places in the supports, mm.
        found: (S, Q, 3) answers of the first Q of them.
        weight: (S, Q) similarities.
    """
    fitted = np.empty_like(source)
    for s in range(len(source)):
        scale, shift = fit_axes(source[s, : found.shape[1]], found[s], np.clip(weight[s], 0.05, 1.0) ** 4)
        fitted[s] = scale * source[s] + shift
    return fitted


def consensus_slabs(
    embedding: Seen, supports: tuple[OrganSupport, ...], answer: Answer, options: SearchOptions
) -> tuple[Box, ...]:
    """SPL: the slabs' own extreme points, refined around where the structure's fit puts them."""
    with_slabs = [(s, p) for s, p in zip(supports, answer.points, strict=True) if len(s.slab_points)]
    if not with_slabs:
        return ()
    count = min(len(s.slab_points) for s, _ in with_slabs)
    guesses, features = [], []
    for support, points in with_slabs:
        scale, shift = fit_axes(support.points.astype(float), points, np.ones(len(points)))
        guesses.append(scale * support.slab_points[:count].reshape(-1, 3) + shift)
        features.append(support.slab_features[:count].reshape(6 * count, -1))
    around = torch.from_numpy(np.median(guesses, axis=0)).float()
    stacked = torch.from_numpy(np.stack(features, axis=1))
    found = embedding.refine(stacked, around, options.windows_mm[-1], options.temperature)
    own = options.own_weight
    points = own * found.points.transpose(0, 1).double().numpy() + (1 - own) * np.stack(guesses)
    faces = np.median(points.reshape(len(with_slabs), count, 6, 3)[..., _FACE, _AXIS], axis=0)
    return tuple(Box.from_faces(f) for f in faces)
