"""The phantom must be one body per seed, whatever the scan, and look like a patient in numbers."""

import itertools

import numpy as np
import pytest

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import mask_box
from medlsam.phantoms import NAMES, Phantom, phantom
from medlsam.phantoms.person import Person

SOFT_HU = {
    "brain": (15, 55), "liver": (20, 140), "spleen": (30, 140), "kidney_left": (10, 220), "heart": (25, 190),
    "aorta": (25, 230), "bladder": (-15, 30), "psoas_left": (30, 85), "lung_left": (-900, -650),
    "lung_right": (-900, -650), "vertebrae": (150, 600), "mandible": (400, 1300), "femur_left": (300, 1000),
    "trachea": (-1010, -700), "parotid_left": (-60, 70),
}  # fmt: skip
VOLUME_ML = {
    "brain": (900, 2000), "brainstem": (14, 55), "spinal_cord": (12, 60), "mandible": (35, 130),
    "parotid_left": (8, 60),
    "parotid_right": (8, 60), "larynx": (20, 90), "esophagus": (20, 110), "lung_left": (900, 4000),
    "lung_right": (1000, 4500),
    "heart": (350, 1200), "aorta": (110, 450), "liver": (800, 2600), "spleen": (50, 450),
    "kidney_left": (80, 330),
    "kidney_right": (80, 330), "bladder": (50, 700), "vertebrae": (350, 1200), "hip_left": (170, 600),
    "stomach": (100, 800),
}  # fmt: skip


@pytest.fixture(scope="module")
def bodies() -> list[Phantom]:
    return [phantom(seed, (6.0, 6.0, 6.0)) for seed in (1, 2, 3)]


def mask(p: Phantom, name: str) -> np.ndarray:
    value = {n: v for v, n in p.names.items()}[name]
    return p.labels.array == value


def centroid(p: Phantom, name: str) -> np.ndarray:
    kji = np.argwhere(mask(p, name))
    assert len(kji), name
    return p.labels.grid.ijk_to_lps(kji[:, ::-1]).mean(axis=0)


def at_points(p: Phantom, points: np.ndarray) -> np.ndarray:
    """Label at the voxel nearest to each point; 255 outside the grid."""
    ijk = np.rint(p.labels.grid.lps_to_ijk(points)).astype(int)[:, ::-1]
    inside = ((ijk >= 0) & (ijk < p.labels.array.shape)).all(axis=1)
    out = np.full(len(points), 255)
    out[inside] = p.labels.array[tuple(ijk[inside].T)]
    return out


def agreement(a: Phantom, b: Phantom) -> float:
    """Share of the labelled voxels of a that b labels the same, where b's grid reaches."""
    kji = np.argwhere(a.labels.array > 0)
    other = at_points(b, a.labels.grid.ijk_to_lps(kji[:, ::-1]))
    seen = other != 255
    assert seen.sum() > 300
    return float((other == a.labels.array[tuple(kji.T)])[seen].mean())


def test_same_seed_same_voxels_other_seed_other_body() -> None:
    a, b, c = (phantom(seed, (9, 9, 9), region="thorax") for seed in (5, 5, 6))
    assert np.array_equal(a.image.array, b.image.array)
    assert a.image.grid == b.image.grid
    assert a.image.array.dtype == np.int16
    assert a.labels.array.dtype == np.uint8
    assert np.abs(centroid(a, "heart") - centroid(c, "heart")).max() > 5
    d, e = (phantom(np.random.default_rng(1), (9, 9, 9), region="thorax") for _ in range(2))
    assert np.array_equal(d.labels.array, e.labels.array)


def test_every_structure_is_there(bodies: list[Phantom]) -> None:
    for p in bodies:
        missing = {n for n in NAMES if not mask(p, n).any()} - {"prostate"}
        assert not missing
    assert len({bool(mask(phantom(s, (8, 8, 8), (20, 80)), "prostate").any()) for s in range(6)}) == 2


def test_sides_and_order(bodies: list[Phantom]) -> None:
    for p in bodies:
        c = {n: centroid(p, n) for n in NAMES if n != "prostate"}
        for name in NAMES:
            if name.endswith("_left"):
                assert c[name][0] > c[name.replace("_left", "_right")][0] + 20, name
        assert c["liver"][0] < c["vertebrae"][0] - 20 < c["spleen"][0] - 60
        assert c["heart"][0] > centroid(p, "sternum")[0] - 15
        assert c["gallbladder"][0] < c["stomach"][0]
        assert c["sternum"][1] < c["heart"][1] < c["vertebrae"][1]
        heights = [c[n][2] for n in ("bladder", "kidney_left", "heart", "larynx", "mandible", "brain")]
        assert heights == sorted(heights)


def test_volumes_and_densities_are_plausible(bodies: list[Phantom]) -> None:
    for p in bodies:
        for name, (low, high) in VOLUME_ML.items():
            assert low < mask(p, name).sum() * p.labels.grid.voxel_ml < high, name
        for name, (low, high) in SOFT_HU.items():
            assert low < np.median(p.image.array[mask(p, name)]) < high, name
        assert np.median(p.image.array[0, :3, :]) < -950
        assert (np.abs(p.image.array.astype(int) + 100) < 40).mean() > 0.01, "no fat"


def test_lungs_are_not_mirror_images(bodies: list[Phantom]) -> None:
    p = bodies[0]
    right, left = mask(p, "lung_right").sum(), mask(p, "lung_left").sum()
    assert right > 1.03 * left


def test_anatomy_does_not_depend_on_the_scan() -> None:
    base = phantom(4, (5, 5, 5), region=(250, 400))
    for other in (
        phantom(4, (4, 4, 3), region=(250, 400)),
        phantom(4, (6, 6, 6), region="abdomen"),
        phantom(4, (5, 5, 5), region=(250, 400), fov_mm=200),
        phantom(4, (5, 5, 5), region=(250, 400), noise_hu=0, table=False),
    ):
        assert agreement(base, other) > 0.83
    stranger = phantom(40, (8, 8, 8), region="abdomen")
    assert not stranger.image.grid.matches(phantom(4, (8, 8, 8), region="abdomen").image.grid, 10.0)


@pytest.mark.parametrize("letters", ["LPS", "RAS", "SLP", "AIR", "PSR", "ILA"])
def test_orientations_show_the_same_body(letters: str) -> None:
    base = phantom(7, (6, 6, 6), region=(40, 180))
    turned = phantom(7, (6, 6, 6), region=(40, 180), orientation=letters)
    assert turned.image.grid.is_axis_aligned
    assert agreement(base, turned) > 0.8
    low, high = np.asarray(base.image.grid.box.min), np.asarray(turned.image.grid.box.min)
    assert np.abs(low - high).max() <= 6.0


def test_all_48_orientations_make_a_grid() -> None:
    codes = [
        "".join(c) for axes in itertools.permutations(["LR", "PA", "SI"]) for c in itertools.product(*axes)
    ]
    assert len(codes) == 48
    for code in codes:
        p = phantom(1, (40, 40, 40), region=(-60, -20), orientation=code, table=False)
        columns = np.asarray(p.image.grid.direction).reshape(3, 3).T
        for column, letter in zip(columns, code, strict=True):
            axis, sign = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}[
                letter
            ]
            assert column[axis] == sign


def test_oblique_grid_shows_the_same_body() -> None:
    angle = np.deg2rad(20)
    turn = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    base = phantom(7, (5, 5, 5), region=(650, 850))
    assert agreement(base, phantom(7, (5, 5, 5), region=(650, 850), orientation=turn)) > 0.8


def test_absent_structure_leaves_the_rest_alone() -> None:
    whole = phantom(8, (5, 5, 5), region="abdomen", noise_hu=0)
    without = phantom(8, (5, 5, 5), region="abdomen", noise_hu=0, absent=("spleen", "kidney_left"))
    gone = mask(whole, "spleen") | mask(whole, "kidney_left")
    assert gone.any()
    assert not mask(without, "spleen").any()
    assert not mask(without, "kidney_left").any()
    assert np.array_equal(whole.labels.array[~gone], without.labels.array[~gone])
    assert np.median(without.image.array[mask(whole, "kidney_left")]) < 0


def test_a_cut_scan_cuts_the_structure() -> None:
    whole = phantom(9, (6, 6, 6), region=(300, 700))
    cut = phantom(9, (6, 6, 6), region=(450, 700))
    assert mask(cut, "lung_left")[0].any()
    assert not mask(whole, "lung_left")[0].any()
    assert (
        mask_box(mask(cut, "lung_left"), cut.labels.grid).min[2]
        > mask_box(mask(whole, "lung_left"), whole.labels.grid).min[2] + 20
    )
    narrow = phantom(9, (6, 6, 6), region=(450, 700), fov_mm=180)
    assert narrow.image.array.shape[1:] == (30, 30)


def test_padding_fills_the_corners_only() -> None:
    p = phantom(9, (6, 6, 6), region="thorax", fov_mm=240, padding_hu=-2000)
    assert (p.image.array[:, 0, 0] == -2000).all()
    middle = p.image.array.shape[1] // 2
    assert (p.image.array[:, middle, middle] > -1100).all()


def test_metal_streaks_change_their_slices_only() -> None:
    plain = phantom(3, (5, 5, 5), region=(670, 850), noise_hu=0)
    metal = phantom(3, (5, 5, 5), region=(670, 850), noise_hu=0, metal=True)
    changed = np.abs(plain.image.array.astype(int) - metal.image.array).max(axis=(1, 2)) > 50
    assert 2 <= changed.sum() < len(changed) // 2
    assert metal.image.array.max() > 2000
    assert np.array_equal(plain.labels.array, metal.labels.array)


def test_noise_is_as_strong_as_asked_and_correlated() -> None:
    still = phantom(3, (3, 3, 3), region=(820, 880), noise_hu=0)
    noisy = phantom(3, (3, 3, 3), region=(820, 880), noise_hu=20)
    brain = mask(still, "brain")
    difference = (noisy.image.array.astype(float) - still.image.array) * brain
    assert difference[brain].std() == pytest.approx(20, rel=0.15)
    neighbours = (difference[:, :, 1:] * difference[:, :, :-1])[
        brain[:, :, 1:] & brain[:, :, :-1]
    ].mean() / 400
    assert neighbours > 0.15


def test_arms_and_table() -> None:
    with_arms = phantom(2, (8, 8, 8), region="abdomen", arms=True, table=False)
    without = phantom(2, (8, 8, 8), region="abdomen", table=False)
    tissue = [(p.image.array > -300).sum() * p.image.grid.voxel_ml for p in (with_arms, without)]
    assert tissue[0] > tissue[1] + 1000
    table = phantom(2, (8, 8, 8), region="abdomen")
    assert (table.image.array > -900).sum() > (without.image.array > -900).sum()


def test_bad_requests_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="flux"):
        phantom(1, absent=("flux",))
    with pytest.raises(UsageError, match="head-neck"):
        phantom(1, region="knee")
    with pytest.raises(UsageError, match="z0 < z1"):
        phantom(1, region=(5.0, 1.0))
    with pytest.raises(GeometryError, match="LLS"):
        phantom(1, orientation="LLS")
    with pytest.raises(GeometryError):
        phantom(1, (0, 3, 3))


def test_each_structure_may_take_up_contrast_of_its_own() -> None:
    """Everything but contrast stays; over people, any of two organs is the brighter one."""
    one = phantom(3, (8.0, 8.0, 8.0), "abdomen", noise_hu=0)
    same = phantom(3, (8.0, 8.0, 8.0), "abdomen", noise_hu=0, enhancement="one")
    each = phantom(3, (8.0, 8.0, 8.0), "abdomen", noise_hu=0, enhancement="each")
    np.testing.assert_array_equal(one.image.array, same.image.array)
    np.testing.assert_array_equal(one.labels.array, each.labels.array)
    changed = one.image.array != each.image.array
    assert changed[mask(one, "liver")].mean() > 0.9
    assert changed[mask(one, "lung_left")].mean() < 0.2  # the scanner's blur reaches in a little
    assert not changed[(one.labels.array == 0) & (one.image.array < -950)].any()

    people = [Person(seed, "each") for seed in range(200)]
    hu = {
        name: np.array([person.density(name, base, rise) for person in people])
        for name, base, rise in (
            ("liver", 58, 48),
            ("spleen", 48, 62),
            ("kidney", 32, 130),
            ("aorta", 42, 150),
        )
    }
    for first, second in itertools.permutations(hu, 2):
        assert (hu[first] > hu[second] + 5).mean() > 0.1, (first, second)
    assert abs(np.corrcoef(hu["liver"], hu["aorta"])[0, 1]) < 0.2
    assert np.mean([person.share("liver") == 0 for person in people]) == pytest.approx(0.25, abs=0.1)
    with pytest.raises(UsageError, match="enhancement is one of one, each, got 'all'"):
        phantom(3, enhancement="all")  # type: ignore[arg-type]
