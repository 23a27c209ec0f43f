"""The linear probe: it finds where a structure ends when features tell inside from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Box, Grid
from medlsam.localize.search.boundary_probe import (
    MOST_FEATURES,
    _lattice,
    _rows,
    _scores,
    fit_probe,
    probe_sums,
)
from medlsam.localize.templates.template_set import StructureTemplate

GRID = Grid((60, 60, 60), (3.0, 3.0, 3.0), (-88.5, -88.5, -88.5))


@dataclass
class Ball:
    """A scan whose features tell whether a place is in a ball (and nothing else)."""

    center: tuple[float, float, float]
    radius: float
    telling: bool = True

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(np.linalg.norm(points - np.asarray(self.center), axis=-1) < self.radius)

    def read(self, points: ArrayLike | Tensor) -> tuple[Tensor, Tensor]:
        places = np.asarray(points, dtype=float)
        mark = self.inside(places).astype(float) if self.telling else np.zeros(len(places))
        return torch.zeros(len(places), 3), torch.from_numpy(np.stack([mark, 1 - mark], axis=1)).float()

    def read_lattice(self, axes: Sequence[NDArray[np.float64]]) -> Tensor:
        return self.read(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))[1]

    def project_lattice(self, axes: Sequence[NDArray[np.float64]], direction: Tensor) -> Tensor:
        return self.read_lattice(axes) @ direction

    @property
    def box(self) -> Box:
        center = np.asarray(self.center)
        return Box(tuple(center - self.radius), tuple(center + self.radius))


def template(ball: Ball) -> StructureTemplate:
    index = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)[..., ::-1]
    mask = ball.inside(index * np.asarray(GRID.spacing_xyz) + np.asarray(GRID.origin_xyz))
    gram, target = probe_sums(ball, mask, GRID, ball.box, 2)  # type: ignore[arg-type]
    none = np.zeros(0, np.float32)
    return StructureTemplate(
        "s", none, none, none, none, none, none, none, none, gram, target, none, none, none
    )  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def templates() -> list[StructureTemplate]:
    return [template(Ball((0, 0, 0), 30.0)), template(Ball((6, -6, 3), 36.0))]


def test_the_probe_sees_a_larger_structure_than_the_box(templates: list[StructureTemplate]) -> None:
    query = Ball((3, 3, 3), 38.0)
    probe = fit_probe(templates)
    assert probe is not None
    found = probe.apply(query, query.box.expand(-6.0)).faces  # type: ignore[arg-type]
    assert np.abs(found - query.box.faces).max() < 4.0  # a step of the lattice


def test_it_sees_farther_where_it_is_asked_to(templates: list[StructureTemplate]) -> None:
    query = Ball((0, 0, 0), 60.0)
    probe = fit_probe(templates)
    assert probe is not None
    near, far = (probe.apply(query, query.box.expand(-30.0), growth) for growth in (20.0, 40.0))  # type: ignore[arg-type]
    assert (np.abs(far.faces - query.box.faces) < np.abs(near.faces - query.box.faces)).all()


def test_contrast_tells_a_structure_from_none(templates: list[StructureTemplate]) -> None:
    probe = fit_probe(templates)
    assert probe is not None
    box, shape = Ball((0, 0, 0), 30.0).box, np.zeros((32, 32, 32), np.float32)
    shape[8:24, 8:24, 8:24] = 1
    there = probe.apply(Ball((0, 0, 0), 30.0), box).contrast(shape)  # type: ignore[arg-type]
    absent = probe.apply(Ball((500, 500, 500), 30.0), box).contrast(shape)  # type: ignore[arg-type]
    assert there > 1.5 * absent  # the place in the box alone tells something, too


def test_sums_add_up(templates: list[StructureTemplate]) -> None:
    alone, both, again = (fit_probe(some) for some in (templates[:1], templates, templates[::-1]))
    assert alone is not None
    assert both is not None
    assert again is not None
    assert not np.allclose(alone.weights, both.weights)
    assert np.allclose(both.weights, again.weights)


def test_where_nothing_looks_like_the_structure_the_box_stays(templates: list[StructureTemplate]) -> None:
    query = Ball((500, 500, 500), 10.0)  # features say "outside" everywhere around the box
    box = Ball((0, 0, 0), 30.0).box
    probe = fit_probe(templates)
    assert probe is not None
    assert np.array_equal(probe.apply(query, box).faces, box.faces)  # type: ignore[arg-type]


def test_supports_without_masks_or_with_long_features_have_no_probe() -> None:
    ball = Ball((0, 0, 0), 30.0)
    gram, target = probe_sums(ball, np.ones((60, 60, 60), bool), GRID, ball.box, MOST_FEATURES + 1)  # type: ignore[arg-type]
    assert gram.size == target.size == 0
    none = np.zeros(0, np.float32)
    empty = StructureTemplate(
        "s", none, none, none, none, none, none, none, none, none, none, none, none, none
    )  # type: ignore[arg-type]
    assert fit_probe([empty]) is None


def test_scores_are_rows_times_weights() -> None:
    ball, weights = Ball((0, 0, 0), 30.0), np.random.default_rng(0).normal(size=9)
    box = ball.box.expand((4.0, 4.0, 0.0, 0.0, -3.0, 2.0))
    lattice = _lattice(box)
    found = _scores(ball, lattice, box, weights)  # type: ignore[arg-type]
    rows = _rows(ball, lattice, box)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, (rows @ weights).reshape(lattice.shape), atol=1e-5)
