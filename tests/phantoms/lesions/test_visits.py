"""A person at another visit is the same person, and what lies in an organ goes with it."""

import numpy as np
import pytest

from medlsam.phantoms.generate import anatomy
from medlsam.phantoms.layout import VALUES
from medlsam.phantoms.lesions.visit import Visitor
from medlsam.phantoms.person import Person


def test_the_body_map_and_its_inverse() -> None:
    person = Person(3)
    points = np.random.default_rng(0).uniform([-150, -100, 0], [150, 100, 900], (200, 3))
    physical = person.warped_to_physical(points)
    assert np.abs(person.from_physical(physical) - points).max() < 1e-4
    # The same as the coordinates of a grid.
    body = anatomy(person, (30.0, 30.0, 30.0), "body")
    x, y, z = person.coordinates(body.grid, 0, body.grid.shape_zyx[0])
    kji = np.argwhere(np.ones(body.grid.shape_zyx, bool))
    expected = person.from_physical(body.grid.ijk_to_lps(kji[:, ::-1]))
    assert np.abs(np.stack([x, y, z], axis=-1).reshape(-1, 3) - expected).max() < 0.01


def test_the_first_visit_is_the_person() -> None:
    a = anatomy(Person(4), (8.0, 8.0, 8.0), "abdomen")
    b = anatomy(Visitor(4), (8.0, 8.0, 8.0), "abdomen")
    assert a.grid == b.grid
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.hu, b.hu)


@pytest.mark.parametrize("seed", [2, 11])
def test_places_go_with_their_organ(seed: int) -> None:
    first, later = Visitor(seed), Visitor(seed, visit=1)
    spacing, region = (5.0, 5.0, 5.0), (250.0, 480.0)
    a, b = anatomy(first, spacing, region), anatomy(later, spacing, region)
    for organ in ("liver", "kidney_left", "spleen", "aorta"):
        kji = np.argwhere(a.labels == VALUES[organ])
        points = a.grid.ijk_to_lps(kji[:, ::-1])
        moved = later.find(first.place(points, organ), organ)
        # They moved, and nearly all of them are in the organ again.
        assert np.linalg.norm(moved - points, axis=1).mean() > 3
        ijk = np.rint(b.grid.lps_to_ijk(moved)).astype(int)[:, ::-1]
        seen = ((ijk >= 0) & (ijk < b.grid.shape_zyx)).all(axis=1)
        share = float((b.labels[tuple(ijk[seen].T)] == VALUES[organ]).mean())
        assert share > (0.7 if organ == "aorta" else 0.85), organ
        assert np.abs(first.find(first.place(points, organ), organ) - points).max() < 1e-3


def test_the_fields_turn_with_the_body() -> None:
    first, later = Visitor(5), Visitor(5, visit=1)
    points = np.random.default_rng(1).uniform([-80, -80, 250], [80, 80, 500], (50, 3))
    here = first.to_physical(points)
    there = later.to_physical(points)
    for name in ("low", "mid", "fine"):
        assert getattr(later, name).at(there) == pytest.approx(getattr(first, name).at(here), abs=1e-6)
    assert np.linalg.norm(later.posture @ later.posture.T - np.eye(3)) < 1e-9
    assert later.rotation == pytest.approx(later.posture @ first.rotation, abs=1e-9)


def test_without_change_only_noise_and_contents_differ() -> None:
    first, later = Visitor(6), Visitor(6, visit=1, change=0.0)
    points = np.random.default_rng(1).uniform([-80, -80, 250], [80, 80, 500], (50, 3))
    assert later.warped_to_physical(points) == pytest.approx(first.warped_to_physical(points), abs=1e-6)
    assert later.breath == first.breath
    assert later.generator("noise").random() != first.generator("noise").random()
    assert later.generator("liver").random() == first.generator("liver").random()
