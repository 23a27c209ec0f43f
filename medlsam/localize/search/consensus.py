"""Locate each template's landmarks of each structure: a first answer, then similarity windows around it.

A template is tried by itself: its landmarks are matched around the first answer (``first_answer.py``), and a scale and
shift per axis that fits all of them holds them together. All structures with the same number of templates are computed
at once, as arrays (structure G, template S, landmark P, xyz) in LPS mm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medlsam.geometry import Box
from medlsam.localize.protocol import ScanEmbedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.deformation import follow_shape
from medlsam.localize.search.first_answer import FirstAnswer, first_answers
from medlsam.localize.search.fit_axes import fit_axes
from medlsam.localize.search.options import WEIGHT_LIMITS, WEIGHT_POWER, SearchOptions
from medlsam.localize.templates.anchors import Anchors
from medlsam.localize.templates.landmarks import FACE_POINTS, FACES
from medlsam.localize.templates.template_set import StructureTemplate

#: The six faces, and the axis of each.
_FACE, _AXIS = np.arange(6), np.arange(6) // 2


def consensus(
    embedding: ScanEmbedding,
    groups: list[tuple[StructureTemplate, ...]],
    anchors: Mapping[str, Anchors],
    options: SearchOptions,
) -> list[Candidate]:
    """Search for all structures: a first answer for all landmarks, then window by window.

    Args:
        embedding: the scan.
        groups: each structure's templates.
        anchors: of the templates' scans, by template.
        options: of the search.

    Returns:
        One candidate per structure, in the order of ``groups``.
    """
    first = first_answers(embedding, groups, anchors if options.alignment else {})
    candidates: dict[int, Candidate] = {}
    for together in _batches(embedding, groups):
        chosen = [groups[i] for i in together]
        refined = _refined(embedding, chosen, [first[i] for i in together], options)
        candidates.update(zip(together, refined, strict=True))
    found = [candidates[i] for i in range(len(groups))]
    # A patch network would need a pass for every place of the lattices.
    if not (options.deformation and options.windows_mm and embedding.independent):
        return found
    return [follow_shape(embedding, group, own) for group, own in zip(groups, found, strict=True)]


def _batches(embedding: ScanEmbedding, groups: list[tuple[StructureTemplate, ...]]) -> list[list[int]]:
    """Group the structures that fit into one array: those with equal numbers of templates and landmarks."""
    if not embedding.independent:
        return [[i] for i in range(len(groups))]
    batches: dict[tuple[int, ...], list[int]] = {}
    for i, group in enumerate(groups):
        batches.setdefault((len(group), *group[0].points.shape), []).append(i)
    return list(batches.values())


def _refined(
    embedding: ScanEmbedding,
    groups: list[tuple[StructureTemplate, ...]],
    first: list[FirstAnswer],
    options: SearchOptions,
) -> list[Candidate]:
    """Refine G structures with S templates each, from their first answers on."""
    frame = slice(0, FACES.start)
    source = np.stack([answer.source for answer in first])
    features = torch.from_numpy(np.stack([[s.features for s in group] for group in groups]))
    found = np.stack([answer.places for answer in first])
    weight = np.ones(found.shape[:-1])
    fitted = _fit(source, found, weight)
    for window in options.windows_mm[:-1]:
        around = fitted[:, :, frame]
        found, weight = _shared_windows(embedding, features[:, :, frame], around, window, options)
        fitted = _fit(source, found, weight)
    if options.windows_mm:
        found, weight = _own_windows(embedding, features, fitted, options.windows_mm[-1], options)
        fitted = _fit(source, found[:, :, frame], weight[:, :, frame])
    else:
        found = fitted
    points = _mix(found, fitted, options)
    apart = np.linalg.norm((found - fitted)[:, :, frame], axis=-1)
    return [
        Candidate(
            points=points[g],
            coarse=first[g].places,
            similarity=float(weight[g, :, frame].mean()),
            spread_mm=first[g].spread_mm,
            fit_mm=float(apart[g].mean()),
            supports=first[g].supports,
            common=first[g].common,
        )
        for g in range(len(groups))
    ]


def _shared_windows(
    embedding: ScanEmbedding,
    features: Tensor,
    around: NDArray[np.float64],
    window: float,
    options: SearchOptions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Match all templates in one window per landmark, around the median of their places.

    Returns:
        Places (G, S, P, 3) LPS mm and similarities (G, S, P).
    """
    middle = torch.from_numpy(np.median(around, axis=1)).float()
    wanted = features.transpose(1, 2).flatten(0, 1)
    matches = embedding.refine(wanted, middle.flatten(0, 1), window, options.temperature)
    points, similarity = (
        part.unflatten(0, middle.shape[:2]) for part in (matches.points, matches.similarity)
    )
    return points.transpose(1, 2).double().numpy(), similarity.transpose(1, 2).double().numpy()


def _own_windows(
    embedding: ScanEmbedding,
    features: Tensor,
    around: NDArray[np.float64],
    window: float,
    options: SearchOptions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Match each template in windows of its own, since extreme points of two patients need not correspond."""
    shape = around.shape[:-1]
    middle = torch.from_numpy(around.reshape(-1, 3)).float()
    matches = embedding.refine(features.flatten(0, 2)[:, None], middle, window, options.temperature)
    points = matches.points.double().numpy().reshape(*shape, 3)
    return points, matches.similarity.double().numpy().reshape(shape)


def _mix(
    found: NDArray[np.float64], fitted: NDArray[np.float64], options: SearchOptions
) -> NDArray[np.float64]:
    """Mix each matched place with the fit, (G, S, P, 3) LPS mm; extreme points also follow their faces.

    A face's distance from the fit is taken from all places on it, not from its extreme point alone.
    """
    own = options.own_weight
    points = own * found + (1 - own) * fitted
    if found.shape[-2] < FACES.stop:
        return points
    off = found - fitted
    offset = off[:, :, FACES].reshape(*off.shape[:2], 6, FACE_POINTS, 3)
    # (G, S, 6): indexing puts the faces first
    beside = np.moveaxis(np.median(offset[:, :, _FACE, :, _AXIS], axis=-1), 0, -1)
    alone = off[:, :, _FACE, _AXIS]
    share = options.face_weight
    points[:, :, _FACE, _AXIS] = fitted[:, :, _FACE, _AXIS] + own * (share * beside + (1 - share) * alone)
    return points


def _fit(
    source: NDArray[np.float64], found: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit each template's first Q places to their matches and move all P of them along, (..., P, 3) LPS mm.

    Args:
        source: (..., P, 3) places in the templates, mm.
        found: (..., Q, 3) matches of the first Q of them.
        weight: (..., Q) similarities.
    """
    scale, shift = fit_axes(
        source[..., : found.shape[-2], :], found, np.clip(weight, *WEIGHT_LIMITS) ** WEIGHT_POWER
    )
    return np.asarray(scale[..., None, :] * source + shift[..., None, :])


def consensus_slabs(
    embedding: ScanEmbedding,
    templates: tuple[StructureTemplate, ...],
    candidate: Candidate,
    options: SearchOptions,
) -> tuple[Box, ...]:
    """Locate the slabs of SPL prompts: match their own extreme points around the places that the fit gives."""
    with_slabs = [(s, p) for s, p in zip(templates, candidate.points, strict=True) if len(s.slab_points)]
    if not with_slabs:
        return ()
    count = min(len(s.slab_points) for s, _ in with_slabs)
    guesses, features = [], []
    for template, points in with_slabs:
        scale, shift = fit_axes(template.points.astype(float), points, np.ones(len(points)))
        guesses.append(scale * template.slab_points[:count].reshape(-1, 3) + shift)
        features.append(template.slab_features[:count].reshape(6 * count, -1))
    around = torch.from_numpy(np.median(guesses, axis=0)).float()
    stacked = torch.from_numpy(np.stack(features, axis=1))
    found = embedding.refine(stacked, around, options.windows_mm[-1], options.temperature)
    own = options.own_weight
    points = own * found.points.transpose(0, 1).double().numpy() + (1 - own) * np.stack(guesses)
    faces = np.median(points.reshape(len(with_slabs), count, 6, 3)[..., _FACE, _AXIS], axis=0)
    return tuple(Box.from_faces(f) for f in faces)
