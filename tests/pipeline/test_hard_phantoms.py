"""One person scanned in many ways is located at the same places: the shipped encoder on phantoms of the trunk.

Tolerances are mean distances of the box faces from those of a plain scan (3 mm slices, couch, arms up), in mm: of all
structures and of the worst. They are about twice what was measured with the weights of the day; a voxel of the encoder
has 4 mm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from medlsam.geometry import Box, mask_box
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.localizer import Localizer, load_localizer
from medlsam.localize.locate import locate
from medlsam.localize.network import tiling
from medlsam.localize.network.embedding import encoder_grid
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.phantoms import Phantom, phantom
from medlsam.volume import Image
from tests.pipeline.test_hard_input import stored_as, turned_by

STRUCTURES = ("liver", "spleen", "kidney_left", "kidney_right")
#: Heights of the phantom, with some centimetres around the structures.
REGION = (250.0, 460.0)
PERSON = 11
scanned = partial(phantom, PERSON, (4.0, 4.0, 3.0), REGION)


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return load_localizer("medlam-tiny", "cpu")


@pytest.fixture(scope="module")
def templates(localizer: Localizer) -> TemplateSet:
    made = [phantom(seed, (5.0, 5.0, 5.0), REGION) for seed in (1, 2)]
    templates = [Template(f"phantom {n}", m.image, m.labels) for n, m in enumerate(made)]
    return build_templates(localizer, templates, made[0].names, STRUCTURES, calibrate=False)


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return scanned()


Boxes = dict[str, Box]
Locate = Callable[[Image], Boxes]


@pytest.fixture(scope="module")
def located(localizer: Localizer, templates: TemplateSet) -> Locate:
    def boxes(volume: Image) -> Boxes:
        return {name: found.box for name, found in locate(localizer.embed(volume), templates).items()}

    return boxes


@pytest.fixture(scope="module")
def reference(located: Locate, plain: Phantom) -> Boxes:
    return located(plain.image)


def distances(one: Boxes, other: Boxes) -> np.ndarray:
    """Mean distance of the faces of each structure's boxes, mm."""
    return np.array([one[name].wall_distance(other[name]) for name in STRUCTURES])


def test_the_plain_scan_is_located_right(reference: Boxes, plain: Phantom) -> None:
    values = {name: value for value, name in plain.names.items()}
    truth = {name: mask_box(plain.labels.array == values[name], plain.labels.grid) for name in STRUCTURES}
    assert distances(reference, truth).mean() < 10


@pytest.mark.parametrize(("order", "signs"), [((2, 0, 1), (-1, 1, 1)), ((1, 2, 0), (1, -1, -1))])
def test_another_axis_order(
    located: Locate, reference: Boxes, plain: Phantom, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    assert distances(located(stored_as(plain.image, order, signs)), reference).max() < 0.05


#: How it was scanned, and the largest distance as mean over the structures and of the worst.
WAYS = {
    "turned about all axes": (lambda: scanned(orientation=turned_by(8, -5, 15)), 3.0, 5.0),
    "0.5 mm slices": (lambda: phantom(PERSON, (5.0, 5.0, 0.5), REGION), 1.5, 3.0),
    "5 mm slices": (lambda: phantom(PERSON, (4.0, 4.0, 5.0), REGION), 1.5, 3.0),
    "8 mm slices": (lambda: phantom(PERSON, (2.0, 2.0, 8.0), REGION), 2.0, 4.0),
    "a field of view of 320 mm": (lambda: scanned(fov_mm=320.0), 2.0, 4.0),
    "no couch, arms down": (lambda: scanned(table=False, arms=True), 2.5, 5.0),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_another_way_to_scan(located: Locate, reference: Boxes, way: str) -> None:
    scan, mean, worst = WAYS[way]
    found = distances(located(scan().image), reference)
    assert found.mean() < mean
    assert found.max() < worst


def test_metal_in_the_spine(located: Locate, reference: Boxes, plain: Phantom) -> None:
    """Two screws at mid-height with streaks of some hundred HU in their slices."""
    grid, hu = plain.image.grid, plain.image.array.astype(np.float32)
    values = {name: value for value, name in plain.names.items()}
    spine = mask_box(plain.labels.array == values["vertebrae"], grid)
    z, y, x = (np.moveaxis(np.indices(grid.shape_zyx), 0, -1)[..., ::-1] * grid.spacing_xyz).T[::-1]
    place = np.asarray(spine.center) - grid.origin_xyz
    for side in (-1, 1):
        dx, dy, dz = x.T - place[0] - side * 15, y.T - place[1], z.T - place[2]
        rays = np.cos(7 * np.arctan2(dy, dx)) * np.exp(-np.hypot(dx, dy) / 80) * (np.abs(dz) < 12)
        hu += 600 * rays * (hu > -800)
        hu[(np.abs(dx) < 4) & (np.abs(dy) < 20) & (np.abs(dz) < 5)] = 3071
    metal = Image(np.rint(hu).clip(-1024, 3071).astype(np.int16), grid)
    assert (metal.array != plain.image.array).mean() > 0.02
    found = distances(located(metal), reference)
    # One voxel of the encoder's grid; 3.2 mm were measured, under 3 with the encoder before.
    assert found.mean() < 4.0
    assert found.max() < 5.0


def test_padding_changes_nothing(located: Locate, reference: Boxes, tmp_path) -> None:
    unread = scanned(padding_hu=-2000).image
    assert unread.array.min() == -2000
    assert distances(located(unread), reference).max() < 0.05
    write_volume(scanned(padding_hu=-3024).image, tmp_path / "scan.nii")
    assert distances(located(read_image(tmp_path / "scan.nii")), reference).max() < 0.05


def test_tiles_give_the_same_boxes(
    localizer: Localizer, located: Locate, reference: Boxes, plain: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = localizer.network
    assert len(list(tiling.tiles(encoder_grid(plain.image.grid, 4.0).shape_zyx, 8, 200_000))) > 4
    monkeypatch.setattr(network, "forward", partial(tiling.encode, network, budget=200_000))
    assert distances(located(plain.image), reference).max() < 1e-3
