"""Faces follow a structure's shape where scale and shift cannot, on embeddings whose anatomy is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from medlsam.geometry import Box, ExtremePoints, Grid
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.search.candidate import Candidate
from medlsam.localize.search.consensus import consensus
from medlsam.localize.search.deformation import EDGES_MM, follow_shape
from medlsam.localize.search.options import SearchOptions
from medlsam.localize.templates.anchors import read_anchors
from medlsam.localize.templates.nodes import node_places
from medlsam.localize.templates.template_set import StructureTemplate
from medlsam.volume import Image
from tests.localize.test_locate import template
from tests.support.fakes.fake_embedding import fake_embedding

ORGAN = Box((-40, -35, -50), (40, 35, 40))
STRETCH_MM = 45.0
GRID = Grid((40, 40, 40), (5.0, 5.0, 5.0), (-97.5, -97.5, -97.5))


def with_nodes(box: Box) -> StructureTemplate:
    """An organ that fills a box of the reference, and its nodes."""
    embedding = fake_embedding()
    nodes = node_places(box, None, GRID)
    return replace(
        template("a", box, embedding),
        node_points=nodes.astype(np.float32),
        node_features=embedding.read(nodes)[1].numpy(),
    )


def stretched(places_of: torch.Tensor) -> torch.Tensor:
    """From a scan in which the organ's upper end lies higher, and all below its middle where it was."""
    height = places_of[..., 2]
    share = ((height - 0) / (ORGAN.max[2] + STRETCH_MM)).clamp(0, 1)
    moved = places_of.clone()
    moved[..., 2] = height - STRETCH_MM * share**2 * (3 - 2 * share)
    return moved


def placed(organ: StructureTemplate, off_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Candidate:
    """The organ where it lies in the template, or so far off."""
    points = organ.points[None].astype(float) + np.asarray(off_mm)
    return Candidate(points=points, coarse=points, similarity=0.9, spread_mm=1.0)


@pytest.mark.parametrize("off_mm", [(25.0, 0.0, 0.0), (-10.0, 20.0, -15.0)])
def test_an_organ_that_was_placed_beside_is_found(off_mm: tuple[float, float, float]) -> None:
    organ = with_nodes(ORGAN)
    found = follow_shape(fake_embedding(), (organ,), placed(organ, off_mm)).faces[0]
    assert np.abs(found - ORGAN.faces).max() < 6


def test_a_longer_organ_gets_its_end() -> None:
    organ = with_nodes(ORGAN)
    truth = np.asarray(ORGAN.faces) + np.array([0, 0, 0, 0, 0, STRETCH_MM])
    off = follow_shape(fake_embedding(unbend=stretched), (organ,), placed(organ)).faces[0] - truth
    assert np.abs(off[:5]).max() < 6
    # Smoothing holds the end back, as it does noise.
    assert abs(off[5]) < 0.8 * STRETCH_MM


def test_templates_are_followed_one_by_one() -> None:
    organ, other = with_nodes(ORGAN), replace(with_nodes(ORGAN), template="b")
    points = np.stack([organ.points + 4.0, organ.points - 6.0]).astype(float)
    both = Candidate(points=points, coarse=points, similarity=0.9, spread_mm=1.0)
    together = follow_shape(fake_embedding(), (organ, other), both).faces
    alone = follow_shape(fake_embedding(), (organ,), replace(both, points=points[:1])).faces
    assert np.array_equal(together[0], alone[0])
    assert np.abs(together - ORGAN.faces).max() < 4


def test_the_search_follows_shapes_unless_told_not_to() -> None:
    organ, scan = with_nodes(ORGAN), fake_embedding(unbend=stretched)
    anchors = read_anchors(fake_embedding(), [organ.box])
    assert anchors is not None
    free, stiff = (
        consensus(scan, [(organ,)], {"a": anchors}, SearchOptions(deformation=own))[0]
        for own in (True, False)
    )
    assert np.abs(free.faces - follow_shape(scan, (organ,), stiff).faces).max() < 1e-9
    assert np.abs(free.faces - stiff.faces).max() > 1


class Patched(Embedding):
    """A scan of a network that needs a pass for every place."""

    @property
    def independent(self) -> bool:
        return False

    def read_lattice(self, axes: Sequence[np.ndarray]) -> torch.Tensor:
        raise AssertionError("a pass for every place of a lattice")


def test_a_patch_network_is_not_read_all_over() -> None:
    organ, scan = with_nodes(ORGAN), Patched(**vars(fake_embedding()))
    found, stiff = (
        consensus(scan, [(organ,)], {}, SearchOptions(deformation=own))[0] for own in (True, False)
    )
    assert np.array_equal(found.faces, stiff.faces)


def test_nothing_moves_in_the_templates_own_scan() -> None:
    organ = with_nodes(ORGAN)
    faces = follow_shape(fake_embedding(), (organ,), placed(organ)).faces[0]
    assert np.abs(faces - ORGAN.faces).max() < 3


def test_where_nothing_matches_the_answer_stays_near() -> None:
    """A scan of one grey value: every place matches equally well."""
    organ = with_nodes(ORGAN)
    flat = replace(
        fake_embedding(), features=tuple(torch.ones_like(level) for level in fake_embedding().features)
    )
    before = placed(organ)
    after = follow_shape(flat, (organ,), before)
    assert np.abs(after.faces - before.faces).max() < 15
    assert np.isfinite(after.faces).all()


def test_thin_structures_and_templates_without_nodes_keep_their_faces() -> None:
    scan = fake_embedding((10.0, 0.0, 0.0))
    for organ in (
        with_nodes(Box((-10, -10, -60), (-10 + EDGES_MM[0] - 1, 14, 60))),
        template("a", ORGAN, fake_embedding()),
    ):
        before = placed(organ, (3.0, 3.0, 3.0))
        assert np.array_equal(follow_shape(scan, (organ,), before).points, before.points)


def test_only_faces_move() -> None:
    scan = fake_embedding(unbend=stretched)
    organ = with_nodes(ORGAN)
    before = placed(organ)
    after = follow_shape(scan, (organ,), before)
    assert np.array_equal(after.points[:, 6:], before.points[:, 6:])
    moved = after.points[0, :6] - before.points[0, :6]
    across = moved[~np.eye(3, dtype=bool)[np.arange(6) // 2]]
    assert np.abs(across).max() == 0


class Model:
    """A localizer that gives one embedding to every scan."""

    signature = "1" * 64

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding

    def embed(self, volume: Image) -> Embedding:
        return self._embedding


@pytest.mark.parametrize(("embedding", "expected"), [(Embedding, True), (Patched, False)])
def test_templates_hold_nodes_where_they_cost_no_pass(embedding: type[Embedding], expected: bool) -> None:
    points = np.tile(ORGAN.center, (6, 1))
    points[np.arange(6), np.arange(6) // 2] = ORGAN.faces
    marked = {"organ": ExtremePoints(tuple(tuple(p) for p in points))}
    scan = Template("a", Image(np.zeros(GRID.shape_zyx, np.int16), GRID), points=marked)
    model = Model(embedding(**vars(fake_embedding())))
    built = build_templates(model, [scan], {1: "organ"}, calibrate=False)  # type: ignore[arg-type]
    (organ,) = built.by_structure["organ"]
    assert bool(len(organ.node_points)) == expected
    assert organ.node_features.shape == (len(organ.node_points), 24)
