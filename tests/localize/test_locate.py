"""From templates to boxes, on embeddings whose anatomy is known."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Box, ExtremePoints, Grid
from medlsam.localize.locate import locate
from medlsam.localize.network.embedding import Embedding
from medlsam.localize.templates.landmarks import places
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.options import LocateOptions
from tests.support.fakes.fake_embedding import fake_embedding

STRUCTURES = {"left": Box((20, -30, -40), (70, 20, 10)), "right": Box((-70, -30, -40), (-20, 20, 10))}


def template(
    name: str, box: Box, embedding: Embedding, shift: tuple[float, ...] = (0, 0, 0)
) -> StructureTemplate:
    """An organ that fills a box of the reference anatomy, read off a scan in which it is shifted."""
    center = box.center
    points = np.tile(center, (6, 1))
    points[np.arange(6), np.arange(6) // 2] = box.faces
    grid = Grid((30, 30, 30), (5.0, 5.0, 5.0), (-72.5, -72.5, -72.5))
    index = np.moveaxis(np.indices(grid.shape_zyx), 0, -1)[..., ::-1] * 5.0 - 72.5
    mask = ((index > box.min) & (index < box.max)).all(axis=-1)
    marked = places(ExtremePoints(tuple(tuple(p) for p in points)), mask, grid) + np.asarray(shift)
    latents, features = embedding.read(marked)
    return StructureTemplate(
        template=name,
        points=marked.astype(np.float32),
        latents=latents.numpy(),
        features=features.numpy(),
        slab_points=np.zeros((0, 6, 3), np.float32),
        slab_latents=np.zeros((0, 6, 3), np.float32),
        slab_features=np.zeros((0, 6, features.shape[1]), np.float32),
        shape=np.zeros(0, np.uint8),
        profile=np.zeros((0, 5), np.float32),
        probe_gram=np.zeros(0, np.float32),
        probe_target=np.zeros(0, np.float32),
        inside=np.zeros(0, np.float32),
        node_points=np.zeros((0, 3), np.float32),
        node_features=np.zeros((0, features.shape[1]), np.float32),
    )


@pytest.fixture(scope="module")
def templates() -> TemplateSet:
    shifts = {"a": (0.0, 0.0, 0.0), "b": (12.0, 4.0, -8.0), "c": (-8.0, 16.0, 4.0)}
    scans = {name: fake_embedding(shift) for name, shift in shifts.items()}
    groups = {
        structure: tuple(template(name, box, scans[name], shifts[name]) for name in shifts)
        for structure, box in STRUCTURES.items()
    }
    return TemplateSet({"left": 1, "right": 2}, groups, "signature")


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (20.0, -12.0, 28.0)])
def test_boxes_are_found(templates: TemplateSet, shift: tuple[float, float, float]) -> None:
    located = locate(fake_embedding(shift), templates)
    assert list(located) == ["left", "right"]
    for structure, box in STRUCTURES.items():
        truth = Box.from_faces(box.faces + np.repeat(shift, 2))
        assert located[structure].status == "found"
        assert located[structure].box.wall_distance(truth) < 2.0
        assert located[structure].points.box == located[structure].box


def test_a_larger_patient_gets_larger_boxes(templates: TemplateSet) -> None:
    located = locate(fake_embedding(scale=1.1), templates)
    truth = Box.from_faces(STRUCTURES["left"].faces * 1.1)
    assert located["left"].box.wall_distance(truth) < 4.0
    assert located["left"].box.volume > 1.1 * STRUCTURES["left"].volume


def test_the_order_of_templates_does_not_matter(templates: TemplateSet) -> None:
    turned = TemplateSet(
        templates.values, {o: g[::-1] for o, g in templates.by_structure.items()}, templates.signature
    )
    query = fake_embedding((4.0, 4.0, 4.0))
    first, second = locate(query, templates), locate(query, turned)
    for structure in STRUCTURES:
        assert np.allclose(first[structure].box.faces, second[structure].box.faces, atol=1e-3)


def test_one_structure_alone_gives_the_same_answer(templates: TemplateSet) -> None:
    query = fake_embedding((4.0, 4.0, 4.0))
    alone, together = locate(query, templates, LocateOptions(organs=("right",))), locate(query, templates)
    assert list(alone) == ["right"]
    assert np.allclose(alone["right"].box.faces, together["right"].box.faces, atol=1e-3)


def test_structures_may_have_different_numbers_of_supports(templates: TemplateSet) -> None:
    scans = {**templates.by_structure, "right": templates.by_structure["right"][:2]}
    uneven = TemplateSet(templates.values, scans, templates.signature)
    scan = fake_embedding((8.0, -4.0, 12.0))
    together, whole = locate(scan, uneven), locate(scan, templates)
    alone = locate(scan, uneven, LocateOptions(organs=("right",)))
    for found, expected in ((together["left"], whole["left"]), (together["right"], alone["right"])):
        assert found.box is not None
        assert expected.box is not None
        np.testing.assert_allclose(found.box.faces, expected.box.faces, atol=1e-3)
        assert found.status == expected.status


def test_the_papers_mode_is_seeded(templates: TemplateSet) -> None:
    query = fake_embedding((8.0, 0.0, 0.0))
    first, second = (locate(query, templates, LocateOptions(search="random-start")) for _ in range(2))
    assert first["left"].box == second["left"].box


def test_wrong_calls_are_told(templates: TemplateSet) -> None:
    with pytest.raises(UsageError, match="spiral"):
        locate(fake_embedding(), templates, LocateOptions(search="spiral"))
    with pytest.raises(TemplateError, match="spleen"):
        locate(fake_embedding(), templates, LocateOptions(organs=("spleen",)))


def test_out_of_view(templates: TemplateSet) -> None:
    """A scan that ends before the structure begins: the box lies outside, and says so."""
    query = fake_embedding()
    low, high = query.view
    cut = Embedding(**{**vars(query), "view": (low, np.array([high[0], high[1], -60.0]))})
    located = locate(cut, templates)
    assert located["left"].status == "out_of_view"
    assert not located["left"].present
