"""Nodes lie in and around their structure, however it was marked and wherever it lies in the scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.geometry import Box, ExtremePoints, Grid
from medlsam.localize.templates.nodes import MOST_NODES, SHELL_MM, edge_of, node_places

GRID = Grid((40, 50, 60), (2.0, 2.0, 3.0), (-10.0, 20.0, -300.0))


def ball(center: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    index = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)[..., ::-1]
    places = index * np.asarray(GRID.spacing_xyz) + np.asarray(GRID.origin_xyz)
    return np.asarray((np.square((places - center) / radii).sum(axis=-1)) <= 1)


@settings(max_examples=25, deadline=None)
@given(
    center=st.tuples(st.floats(-5, 100), st.floats(25, 110), st.floats(-295, -190)),
    radii=st.tuples(*(st.floats(6, 45) for _ in range(3))),
)
def test_nodes_fill_a_structure_and_a_shell(
    center: tuple[float, float, float], radii: tuple[float, float, float]
) -> None:
    mask = ball(center, radii)
    box = ExtremePoints.from_mask(mask, GRID).box
    nodes = node_places(box, mask, GRID)
    inside = np.argwhere(mask)[:, ::-1] * np.asarray(GRID.spacing_xyz) + np.asarray(GRID.origin_xyz)
    away = np.sqrt(np.square(nodes[:, None] - inside).sum(axis=-1)).min(axis=1)
    # Half a voxel: distances are interpolated between voxels.
    assert away.max() <= SHELL_MM[1] + 2
    assert 4 <= len(nodes) <= 2 * MOST_NODES
    middle = nodes.mean(axis=0)
    assert np.abs(middle - np.asarray(box.center)).max() < 0.25 * max(box.size)


def test_points_alone_get_an_ellipsoid() -> None:
    box = Box((0, 0, 0), (60, 80, 100))
    nodes = node_places(box, None, GRID)
    away = (nodes - np.asarray(box.center)) / (np.asarray(box.size) / 2 + SHELL_MM[1])
    assert len(nodes) > 50
    assert np.square(away).sum(axis=-1).max() <= 1 + 1e-9


def test_the_edge_is_that_of_a_cube_of_the_same_volume() -> None:
    assert edge_of(Box((0, 0, 0), (10, 20, 40))) == pytest.approx(20)
