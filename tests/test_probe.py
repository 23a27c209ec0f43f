"""The linear probe: it finds where a structure ends when features tell inside from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medlsam.geometry import Box, Grid
from medlsam.localize.probe import MOST_FEATURES, MOST_MM, adjust, fit_probe, probe_sums, probed_faces
from medlsam.localize.templates import OrganSupport

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

    @property
    def box(self) -> Box:
        center = np.asarray(self.center)
        return Box(tuple(center - self.radius), tuple(center + self.radius))


def support(ball: Ball) -> OrganSupport:
    index = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)[..., ::-1]
    mask = ball.inside(index * np.asarray(GRID.spacing_xyz) + np.asarray(GRID.origin_xyz))
    gram, target = probe_sums(ball, mask, GRID, ball.box, 2)  # type: ignore[arg-type]
    none = np.zeros(0, np.float32)
    return OrganSupport("s", none, none, none, none, none, none, none, none, gram, target)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def supports() -> list[OrganSupport]:
    return [support(Ball((0, 0, 0), 30.0)), support(Ball((6, -6, 3), 36.0))]


def test_the_probe_sees_a_larger_structure_than_the_box(supports: list[OrganSupport]) -> None:
    query = Ball((3, 3, 3), 38.0)
    weights = fit_probe(supports)
    assert weights is not None
    found = probed_faces(query, weights, query.box.expand(-6.0))  # type: ignore[arg-type]
    assert np.abs(found - query.box.faces).max() < 4.0  # a step of the lattice


def test_faces_follow_by_a_few_millimetres_at_most(supports: list[OrganSupport]) -> None:
    query = Ball((0, 0, 0), 38.0)
    wrong = query.box.expand(-14.0).faces
    moved = adjust(query, supports, wrong)  # type: ignore[arg-type]
    assert np.allclose(np.abs(moved - wrong), MOST_MM)
    assert (np.abs(moved - query.box.faces) < np.abs(wrong - query.box.faces)).all()


def test_sums_add_up(supports: list[OrganSupport]) -> None:
    alone, both = fit_probe(supports[:1]), fit_probe(supports)
    again = fit_probe(supports[::-1])
    assert alone is not None
    assert both is not None
    assert again is not None
    assert not np.allclose(alone, both)
    assert np.allclose(both, again)


def test_where_nothing_looks_like_the_structure_the_box_stays(supports: list[OrganSupport]) -> None:
    query = Ball((500, 500, 500), 10.0)  # features say "outside" everywhere around the box
    faces = Ball((0, 0, 0), 30.0).box.faces
    assert np.array_equal(adjust(query, supports, faces), faces)  # type: ignore[arg-type]


def test_supports_without_masks_or_with_long_features_have_no_probe() -> None:
    ball = Ball((0, 0, 0), 30.0)
    gram, target = probe_sums(ball, np.ones((60, 60, 60), bool), GRID, ball.box, MOST_FEATURES + 1)  # type: ignore[arg-type]
    assert gram.size == target.size == 0
    none = np.zeros(0, np.float32)
    empty = OrganSupport("s", none, none, none, none, none, none, none, none, none, none)  # type: ignore[arg-type]
    assert fit_probe([empty]) is None
    assert np.array_equal(adjust(ball, [empty], ball.box.faces), ball.box.faces)  # type: ignore[arg-type]
