"""Every lesion lies where it is said to, looks as it is said to, and is the same at every visit."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from medlsam.errors import UsageError
from medlsam.phantoms import phantom
from medlsam.phantoms.lesions import KINDS, LesionPhantom, lesion_phantom, lesion_visits
from medlsam.phantoms.lesions.generate import REGION

COARSE = (3.0, 3.0, 3.0)
MSWAL = {
    "gallstone", "kidney_stone", "liver_tumor", "kidney_tumor", "pancreatic_cancer", "liver_cyst", "kidney_cyst",
}  # fmt: skip


@pytest.fixture(scope="module")
def people() -> list[list[LesionPhantom]]:
    return [lesion_visits(seed, 2, 10, spacing_xyz=COARSE) for seed in (1, 2, 3)]


def check_places(made: LesionPhantom) -> None:
    values = {name: value for value, name in made.names.items()}
    for lesion in made.lesions:
        mask = made.lesion_labels.array == lesion.id
        assert mask.any(), lesion
        under = made.labels.array[mask]
        if not lesion.beside:
            assert (under == values[lesion.organ]).all(), lesion
            continue
        assert not under.any(), lesion
        # The organ is the nearest of all structures, and near.
        away = ndimage.distance_transform_edt(~mask, sampling=made.image.grid.spacing_xyz[::-1])
        near = {
            name: away[made.labels.array == value].min(initial=math.inf) for name, value in values.items()
        }
        assert min(near, key=near.__getitem__) == lesion.organ
        assert near[lesion.organ] < 4 + 2 * max(made.image.grid.spacing_xyz)


def test_each_lies_in_or_beside_its_organ(people: list[list[LesionPhantom]]) -> None:
    assert set(KINDS) - {"lung_tumor", "lymph_node"} == MSWAL
    for made in itertools.chain(*people):
        assert len(made.lesions) >= 6
        assert made.lesion_labels.grid == made.image.grid
        assert {lesion.id for lesion in made.lesions} == set(np.unique(made.lesion_labels.array)) - {0}
        for lesion in made.lesions:
            assert lesion.kind in KINDS
            assert lesion.organ in KINDS[lesion.kind].organs
            assert lesion.beside == KINDS[lesion.kind].beside
        check_places(made)
    kinds = {lesion.kind for made in itertools.chain(*people) for lesion in made.lesions}
    assert kinds == set(KINDS)


def test_none_overlaps_another(people: list[list[LesionPhantom]]) -> None:
    for made in itertools.chain(*people):
        total = sum(lesion.mask(made.image.grid).astype(int) for lesion in made.lesions)
        assert np.max(total) == 1
        assert np.array_equal(total > 0, made.lesion_labels.array > 0)
        for a, b in itertools.combinations(made.lesions, 2):
            assert math.dist(a.center, b.center) > (a.longest_mm + b.longest_mm) / 2


def test_the_volume_drawn(people: list[list[LesionPhantom]]) -> None:
    for made in itertools.chain(*people):
        half = max(made.image.grid.spacing_xyz) / 2
        for lesion in made.lesions:
            drawn = np.count_nonzero(made.lesion_labels.array == lesion.id) * made.image.grid.voxel_ml
            if lesion.form == "lobulated":
                assert drawn == pytest.approx(lesion.volume_ml, rel=0.35, abs=0.15)
            else:
                smaller, larger = (
                    (max(r - half, 0) for r in lesion.shape.radii_mm),
                    lesion.shape.widened(half),
                )
                assert 4 / 3 * math.pi * math.prod(smaller) / 1000 < drawn < larger.measures[2]


def test_ids_persist_and_the_rest_is_told(people: list[list[LesionPhantom]]) -> None:
    came = went = stayed = 0
    for first, later in people:
        before = {lesion.id: lesion for lesion in first.lesions}
        after = {lesion.id: lesion for lesion in later.lesions}
        came, went = came + len(after.keys() - before), went + len(before.keys() - after)
        for key in before.keys() & after:
            a, b = before[key], after[key]
            stayed += 1
            assert (a.kind, a.organ, a.hu, a.shape.balls) == (b.kind, b.organ, b.hu, b.shape.balls)
            factor = b.shape.radii_mm[0] / a.shape.radii_mm[0]
            assert 0.5 < factor < 1.55
            assert b.volume_ml == pytest.approx(a.volume_ml * factor**3, rel=0.01)
            assert math.dist(a.center, b.center) > 0.5
        assert first.visit == 0
        assert later.visit == 1
        assert first.image.grid.spacing_xyz != later.image.grid.spacing_xyz
    assert came
    assert went
    assert stayed > 12


def test_what_is_asked_for_happens() -> None:
    small = {"spacing_xyz": (4.0, 4.0, 4.0), "region": (250.0, 480.0), "kinds": ("liver_cyst", "liver_tumor")}
    for course, low, high in (("growing", 1.2, 3.0), ("stable", 0.93, 1.08), ("shrinking", 0.2, 0.66)):
        visits = lesion_visits(8, 3, 4, course=course, vanish=0, new=0, **small)
        assert all(len(made.lesions) == len(visits[0].lesions) >= 2 for made in visits)
        for a, b in zip(visits[0].lesions, visits[2].lesions, strict=True):
            assert low < b.shape.radii_mm[0] / a.shape.radii_mm[0] < high
    gone = lesion_visits(8, 2, 4, vanish=1, new=0, **small)
    assert gone[0].lesions
    assert not gone[1].lesions
    assert not gone[1].lesion_labels.array.any()
    fresh = lesion_visits(8, 2, 4, vanish=0, new=1, **small)
    assert [lesion.id for lesion in fresh[0].lesions] == [1]
    assert len(fresh[1].lesions) > 1


def test_the_same_seed_has_the_same_lesions_in_the_same_body() -> None:
    scan = {"spacing_xyz": (4.0, 4.0, 4.0)}
    a, b, c = (lesion_phantom(seed, 5, **scan) for seed in (5, 5, 6))
    assert np.array_equal(a.image.array, b.image.array)
    assert np.array_equal(a.lesion_labels.array, b.lesion_labels.array)
    assert a.lesions == b.lesions != c.lesions
    plain = phantom(5, (4.0, 4.0, 4.0), REGION)
    assert plain.image.grid == a.image.grid
    assert np.array_equal(plain.labels.array, a.labels.array)
    # Blur reaches some voxels farther, along each axis in turn.
    far = ndimage.maximum_filter(a.lesion_labels.array > 0, size=9)
    assert np.array_equal(plain.image.array[~far], a.image.array[~far])
    assert not np.array_equal(plain.image.array, a.image.array)


def test_it_looks_as_it_is_said() -> None:
    made = lesion_phantom(9, 8, spacing_xyz=(2.0, 2.0, 2.0), noise_hu=2.0)
    large = [lesion for lesion in made.lesions if lesion.shape.scaled(1).radii_mm[1] > 5]
    assert len(large) > 2
    for lesion in large:
        inner = ndimage.binary_erosion(made.lesion_labels.array == lesion.id, iterations=2)
        if inner.sum() > 10:
            assert float(made.image.array[inner].mean()) == pytest.approx(lesion.hu, abs=8)
    assert all(lesion.contrast > 600 for lesion in made.lesions if lesion.kind == "lung_tumor")


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match="no kind of lesion is called wart; there are gallstone"):
        lesion_phantom(1, kinds=("wart",))
    with pytest.raises(UsageError, match="the course is one of mixed"):
        lesion_visits(1, course="worse")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one visit"):
        lesion_visits(1, 0)
    with pytest.raises(UsageError, match="0 to 255 lesions, got 1 and 256"):
        lesion_phantom(1, 256)
    with pytest.raises(UsageError, match="enhancement is one of"):
        lesion_phantom(1, enhancement="some")  # type: ignore[arg-type]
