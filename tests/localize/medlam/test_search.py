"""The paper's inference: templates averaged, whole boxes (WPL) and the boxes of slabs (SPL)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.geometry import Box
from medlsam.localize.locate import locate
from medlsam.localize.templates.template_set import StructureTemplate, TemplateSet
from medlsam.options import LocateOptions
from tests.localize.test_locate import STRUCTURES, template
from tests.support.fakes.fake_embedding import fake_embedding

SHIFTS = {"a": (0.0, 0.0, 0.0), "b": (12.0, 4.0, -8.0)}
#: The structure cut into two slabs along z, in the reference anatomy.
SLABS = (Box((20, -30, -40), (70, 20, -15)), Box((20, -30, -15), (70, 20, 10)))


def with_slabs(name: str) -> StructureTemplate:
    scan = fake_embedding(SHIFTS[name])
    points = np.stack([np.tile(slab.center, (6, 1)) for slab in SLABS])
    for slab, own in zip(SLABS, points, strict=True):
        own[np.arange(6), np.arange(6) // 2] = slab.faces
    points += np.asarray(SHIFTS[name])
    latents, features = scan.read(points.reshape(-1, 3))
    return replace(
        template(name, STRUCTURES["left"], scan, SHIFTS[name]),
        slab_points=points.astype(np.float32),
        slab_latents=latents.numpy().reshape(-1, 6, 3),
        slab_features=features.numpy().reshape(len(SLABS), 6, -1),
    )


@pytest.fixture(scope="module")
def templates() -> TemplateSet:
    return TemplateSet({"left": 1}, {"left": tuple(with_slabs(name) for name in SHIFTS)}, "signature")


@pytest.mark.parametrize("search", ["random-start", "consensus"])
def test_every_slab_has_a_box_of_its_own(templates: TemplateSet, search: str) -> None:
    shift = (16.0, -8.0, 24.0)
    found = locate(fake_embedding(shift), templates, LocateOptions(search=search), slabs=True)["left"]
    assert len(found.slabs) == 2
    for box, slab in zip(found.slabs, SLABS, strict=True):
        truth = Box.from_faces(slab.faces + np.repeat(shift, 2))
        assert box.wall_distance(truth) < 6.0  # three quarters of a cell of the features


def test_the_mean_of_the_supports_is_looked_for(templates: TemplateSet) -> None:
    found = locate(fake_embedding(), templates, LocateOptions(search="random-start"))["left"]
    assert found.box is not None
    assert found.box.wall_distance(STRUCTURES["left"]) < 6.0
    assert found.slabs == ()


def test_supports_without_slabs_give_none() -> None:
    scan = fake_embedding()
    lone = TemplateSet({"left": 1}, {"left": (template("a", STRUCTURES["left"], scan),)}, "signature")
    assert locate(scan, lone, LocateOptions(search="random-start"), slabs=True)["left"].slabs == ()
