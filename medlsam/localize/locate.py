"""Templates and a scan's embedding to located structures: coarse consensus, refinement, box, status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Box, ExtremePoints
from medlsam.localize.embedding import Embedding
from medlsam.localize.match import coarse_consensus, random_starts, refine
from medlsam.localize.shape import mean_profile, mean_shape
from medlsam.localize.status import judge
from medlsam.localize.templates import OrganCalibration, OrganSupport, TemplateSet
from medlsam.results import LocatedOrgan

Search = Literal["consensus", "random-start"]


@dataclass(frozen=True)
class SearchOptions:
    """How the consensus search goes about it (chosen on the pretraining split, see docs/decisions.md).

    Attributes:
        windows_mm: half widths of the successive refinement windows.
        temperature: of the soft arg-max.
        own_weight: how much a face follows its own refined point (1) or the fit of all landmarks (0).
        paper_window_mm: half width of the single window of the paper's mode (64 voxels of 3 mm).
    """

    windows_mm: tuple[float, ...] = (32.0, 16.0)
    temperature: float = 0.03
    own_weight: float = 0.75
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


@dataclass(frozen=True, eq=False)
class _Answer:
    """What the supports of one structure say: points (S, P, 3) LPS mm, and the numbers behind them."""

    points: NDArray[np.float64]
    similarity: float
    spread_mm: float


def _consensus(
    embedding: Embedding, groups: list[tuple[OrganSupport, ...]], options: SearchOptions
) -> list[_Answer]:
    """Every support's answer for every structure, in one batch over all of them."""
    sources = [np.stack([s.points for s in group]).astype(float) for group in groups]
    features = [torch.from_numpy(np.stack([s.features for s in group], axis=1)) for group in groups]
    latents = torch.from_numpy(np.concatenate([s.latents for group in groups for s in group]))
    votes, spread = coarse_consensus(embedding, latents)
    sizes = [source.shape[0] * source.shape[1] for source in sources]
    found = [v.double().numpy().reshape(s.shape) for v, s in zip(votes.split(sizes), sources, strict=True)]
    spreads = [float(part.mean()) for part in spread.split(sizes)]
    similarity = [np.ones(source.shape[:2]) for source in sources]
    fitted = [_fit(s, f, w) for s, f, w in zip(sources, found, similarity, strict=True)]
    for window in options.windows_mm:
        for i, group_features in enumerate(features):
            around = torch.from_numpy(np.median(fitted[i], axis=0)).float()
            matches = refine(embedding, group_features, around, window, options.temperature)
            found[i] = matches.points.transpose(0, 1).double().numpy()
            similarity[i] = matches.similarity.T.double().numpy()
            fitted[i] = _fit(sources[i], found[i], np.clip(similarity[i], 0.05, 1.0) ** 4)
    own = options.own_weight
    return [
        _Answer(own * f + (1 - own) * g, float(s.mean()), spread)
        for f, g, s, spread in zip(found, fitted, similarity, spreads, strict=True)
    ]


def _fit(
    source: NDArray[np.float64], found: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(S, P, 3): where each support's points land when its landmarks as a whole are fitted to the answers."""
    fitted = np.empty_like(source)
    for s in range(len(source)):
        scale, shift = fit_axes(source[s], found[s], weight[s])
        fitted[s] = scale * source[s] + shift
    return fitted


def _paper(
    embedding: Embedding,
    supports: tuple[OrganSupport, ...],
    options: SearchOptions,
    generator: torch.Generator,
) -> _Answer:
    """The paper's inference: latents and features averaged over the supports, random starts, one MSS window."""
    latents = torch.from_numpy(np.mean([s.latents[:6] for s in supports], axis=0))
    features = torch.from_numpy(np.mean([s.features[:6] for s in supports], axis=0))
    centre, spread = random_starts(embedding, latents, generator)
    matches = refine(embedding, features[:, None], centre, options.paper_window_mm, options.temperature)
    points = matches.points.transpose(0, 1).double().numpy()
    return _Answer(points, float(matches.similarity.mean()), float(spread.mean()))


def _faces(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 6) face coordinates of (..., P >= 6, 3) points whose first six are the extreme points."""
    faces: NDArray[np.float64] = points[..., np.arange(6), np.arange(6) // 2]
    return faces


def _slabs(
    embedding: Embedding, supports: tuple[OrganSupport, ...], answer: _Answer, options: SearchOptions
) -> tuple[Box, ...]:
    """SPL: the slabs' own extreme points, refined around where the structure's fit puts them."""
    with_slabs = [(s, p) for s, p in zip(supports, answer.points, strict=False) if len(s.slab_points)]
    if not with_slabs or len(answer.points) != len(supports):
        return ()
    count = min(len(s.slab_points) for s, _ in with_slabs)
    guesses, features = [], []
    for support, points in with_slabs:
        scale, shift = fit_axes(support.points.astype(float), points, np.ones(len(points)))
        guesses.append(scale * support.slab_points[:count].reshape(-1, 3) + shift)
        features.append(support.slab_features[:count].reshape(6 * count, -1))
    around = torch.from_numpy(np.median(guesses, axis=0)).float()
    stacked = torch.from_numpy(np.stack(features, axis=1))
    found = refine(embedding, stacked, around, options.windows_mm[-1], options.temperature)
    own = options.own_weight
    points = own * found.points.transpose(0, 1).double().numpy() + (1 - own) * np.stack(guesses)
    faces = np.median(_faces(points.reshape(len(with_slabs), count, 6, 3)), axis=0)
    return tuple(Box.from_faces(f) for f in faces)


def locate(
    embedding: Embedding,
    templates: TemplateSet,
    organs: Iterable[str] | None = None,
    search: str = "consensus",
    generator: torch.Generator | None = None,
    options: SearchOptions | None = None,
    slabs: bool = False,
) -> dict[str, LocatedOrgan]:
    """Find the templates' structures in a scan.

    Args:
        embedding: the scan, from the localizer that made the templates.
        templates: what to look for.
        organs: only these; all where None.
        search: ``consensus``, or ``random-start`` for the paper's own inference.
        generator: for ``random-start``; seeded with 0 where None.
        options: of the consensus.
        slabs: also locate the slabs that SPL prompts need.

    Returns:
        Structure name to answer, in the templates' order.

    Raises:
        UsageError: unknown ``search``.
        TemplateError: unknown structure, or an empty set.
    """
    if search not in ("consensus", "random-start"):
        raise UsageError(f"search must be 'consensus' or 'random-start', got {search!r}")
    options = options or SearchOptions()
    chosen = templates.select(organs) if organs is not None else templates
    if not chosen.organs:
        raise TemplateError("the template set holds no structure")
    groups = [chosen.supports[name] for name in chosen.organs]
    if search == "consensus":
        answers = _consensus(embedding, groups, options)
    else:
        generator = generator or torch.Generator().manual_seed(0)
        answers = [_paper(embedding, group, options, generator) for group in groups]
    located = {}
    for name, group, answer in zip(chosen.organs, groups, answers, strict=True):
        boxes = _slabs(embedding, group, answer, options) if slabs else ()
        located[name] = _conclude(embedding, name, group, answer, boxes, chosen.calibration.get(name))
    return located


def _conclude(
    embedding: Embedding,
    name: str,
    supports: tuple[OrganSupport, ...],
    answer: _Answer,
    slabs: tuple[Box, ...],
    calibration: OrganCalibration | None,
) -> LocatedOrgan:
    """The supports' answers to one answer: medians, agreement, status."""
    faces = _faces(answer.points)
    middle = np.median(faces, axis=0)
    box = Box.from_faces(middle)
    disagreement = float(np.abs(faces - middle).mean()) if len(faces) > 1 else None
    verdict = judge(box, embedding.view, answer.similarity, disagreement, answer.spread_mm, calibration)
    extremes = np.median(answer.points[:, :6], axis=0)
    return LocatedOrgan(
        name=name,
        status=verdict.status,
        confidence=verdict.confidence,
        expected_error_mm=verdict.expected_error_mm,
        points=ExtremePoints(tuple(tuple(p) for p in extremes)),
        box=box,
        prompt_box=box.expand(verdict.margin_mm),
        slabs=slabs,
        profile=mean_profile(supports),
        shape_prior=mean_shape(supports),
        details=verdict.details,
    )
