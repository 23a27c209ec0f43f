"""Volumes: files of every kind, 48 orientations and oblique ones, resampling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medlsam.errors import GeometryError, TemplateError, VolumeError
from medlsam.geometry import Grid, mask_box
from medlsam.io.checks import check_labels, check_same_grid
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.io.write import write_volume
from medlsam.volume import (
    Image,
    LabelMap,
    Source,
    from_canonical,
    lps_grid,
    resample,
    to_canonical,
)

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]
KINDS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def oblique(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return tuple((about_x @ about_z).ravel())


def direction_of(order, signs):
    return tuple((np.eye(3)[:, list(order)] * signs).ravel())


def blocks(grid):
    """Labels with no symmetry: three blocks of different sizes."""
    z, y, x = grid.shape_zyx
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[: z // 2, : y // 3, : x // 2] = 1
    labels[z // 2 :, y // 2 :, 1 : x // 3] = 2
    labels[z - 2, y - 2, x - 3] = 3
    return labels


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_axis_order_goes_to_canonical_and_back_without_loss(order, signs):
    grid = Grid((6, 7, 8), (0.8, 1.5, 3.0), (-30.0, 12.0, 700.0), direction_of(order, signs))
    labels = blocks(grid)
    canonical = to_canonical(LabelMap(labels, grid))
    assert canonical.grid.direction == Grid((1, 1, 1)).direction
    np.testing.assert_allclose(canonical.grid.box.faces, grid.box.faces, atol=1e-9)
    for value in (1, 2, 3):
        before, after = (mask_box(v.array == value, v.grid) for v in (LabelMap(labels, grid), canonical))
        np.testing.assert_allclose(after.faces, before.faces, atol=1e-9)
    np.testing.assert_array_equal(from_canonical(canonical.array, canonical.grid, grid), labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_files_keep_every_axis_order(tmp_path, kind, order, signs):
    grid = Grid((6, 7, 8), (0.8, 1.5, 3.0), (-30.0, 12.0, 700.0), direction_of(order, signs))
    write_volume(LabelMap(blocks(grid), grid), tmp_path / f"labels{kind}")
    again = read_label_map(tmp_path / f"labels{kind}")
    assert again.grid.matches(grid, tolerance_mm=1e-3)
    np.testing.assert_array_equal(again.array, blocks(grid))
    assert again.array.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degrees", [3, 20, 40])
def test_oblique_scans_survive_files_and_canonical(tmp_path, make_ct, kind, degrees):
    grid = Grid((20, 26, 28), (1.0, 1.4, 2.5), (-30.0, 12.0, 700.0), oblique(degrees))
    scan = make_ct(grid)
    write_volume(scan, tmp_path / f"scan{kind}")
    again = read_image(tmp_path / f"scan{kind}")
    # Physical corners move far less than half a voxel.
    assert np.abs(again.grid.corners() - grid.corners()).max() < 0.01
    np.testing.assert_array_equal(again.array, scan.array)

    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[6:14, 5:20, 8:20] = 1
    canonical = to_canonical(LabelMap(labels, grid))
    assert canonical.array.dtype == np.uint8
    before, after = mask_box(labels == 1, grid), mask_box(canonical.array == 1, canonical.grid)
    for n, (one, other) in enumerate(zip(before.faces, after.faces, strict=True)):
        # A corner voxel of the turned block sticks out; its neighbour is at most a voxel away.
        assert abs(one - other) <= max(grid.spacing_xyz), n
    back = from_canonical(canonical.array, canonical.grid, grid)
    assert back.shape == grid.shape_zyx
    assert back.dtype == np.uint8
    dice = 2 * (back & labels).sum() / (back.sum() + labels.sum())
    assert dice > 0.93
    inner = np.argwhere(back).mean(axis=0) - np.argwhere(labels).mean(axis=0)
    assert np.abs(inner).max() < 0.1


def test_oblique_grid_skips_no_voxel_and_stays_small():
    grid = Grid((40, 100, 100), (0.8, 0.8, 5.0), direction=oblique(5))
    canonical = to_canonical(LabelMap(np.zeros(grid.shape_zyx, np.uint8), grid)).grid
    assert np.prod(canonical.shape_zyx) < 4 * 40 * 100 * 100
    assert max(canonical.spacing_xyz[:2]) <= 0.81
    assert (np.asarray(canonical.box.min) <= np.asarray(grid.box.min) + 0.01).all()
    assert (np.asarray(canonical.box.max) >= np.asarray(grid.box.max) - 0.01).all()


def test_canonical_back_from_another_spacing():
    grid = Grid((12, 20, 24), (1.0, 1.0, 3.0), (5.0, 6.0, 7.0), direction_of((1, 0, 2), (-1, 1, -1)))
    coarse = lps_grid(grid, (2.0, 2.0, 3.0))
    labels = np.zeros(coarse.shape_zyx, np.uint8)
    labels[3:9, 4:8, 2:6] = 4
    back = from_canonical(labels, coarse, grid)
    np.testing.assert_allclose(
        mask_box(back == 4, grid).faces, mask_box(labels == 4, coarse).faces, atol=1.01
    )
    with pytest.raises(GeometryError, match="do not lie on a grid"):
        from_canonical(labels[1:], coarse, grid)


def test_lps_grid_covers_the_box_with_all_centres_inside():
    grid = Grid((10, 20, 30), (1.1, 0.9, 4.0), (3.0, -8.0, 2.0), oblique(15))
    found = lps_grid(grid, (2.0, 3.0, 7.0))
    assert (np.asarray(found.box.min) <= grid.box.min).all()
    assert (np.asarray(found.box.max) >= grid.box.max).all()
    z, y, x = found.shape_zyx
    for centre in (found.ijk_to_lps([0, 0, 0]), found.ijk_to_lps([x - 1, y - 1, z - 1])):
        assert (centre > grid.box.min).all()
        assert (centre < grid.box.max).all()
    straight = Grid((10, 20, 30), (1.1, 0.9, 4.0), (3.0, -8.0, 2.0))
    assert lps_grid(straight, straight.spacing_xyz).matches(straight, 1e-6)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("direction", [direction_of((0, 1, 2), (1, 1, 1)), oblique(10)])
def test_a_fine_checkerboard_shrinks_to_its_mean(factor, direction):
    grid = Grid((24, 24, 24), (1.0, 1.0, 1.0), direction=direction)
    board = (np.indices(grid.shape_zyx).sum(axis=0) % 2 * 1000).astype(np.int16)
    coarse = Grid((24 // factor,) * 3, (float(factor),) * 3, tuple(grid.ijk_to_lps([0, 0, 0])), direction)
    shrunk = resample(Image(board, grid), coarse).array[1:-1, 1:-1, 1:-1]
    assert np.abs(shrunk - 500).max() < 15
    # Without the blur every sample is a voxel of one colour or of the other.
    picked = resample(LabelMap(board, grid), coarse).array
    assert set(np.unique(picked)) <= {0, 1000}


def test_stripes_along_one_axis_lose_their_contrast_only_along_that_axis():
    grid = Grid((8, 8, 40))
    stripes = np.broadcast_to((np.arange(40) % 2 * 1000).astype(np.int16), grid.shape_zyx)
    along = resample(Image(stripes, grid), Grid((8, 8, 10), (4.0, 1.0, 1.0), (1.5, 0.0, 0.0)))
    assert np.abs(along.array[..., 1:-1] - 500).max() < 1
    across = resample(Image(stripes, grid), Grid((2, 8, 40), (1.0, 1.0, 4.0), (0.0, 0.0, 1.5)))
    np.testing.assert_allclose(across.array, np.broadcast_to(stripes[:2], across.array.shape), atol=1e-3)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_linear_sampling_keeps_a_ramp_in_millimetres(order, signs):
    source = Grid((9, 10, 11), (1.0, 1.5, 2.0), (3.0, 4.0, 5.0), direction_of(order, signs))
    kji = np.indices(source.shape_zyx).reshape(3, -1).T
    ramp = source.ijk_to_lps(kji[:, ::-1]) @ [2.0, -3.0, 5.0]
    volume = Image(ramp.reshape(source.shape_zyx).astype(np.float32), source)
    for target in (
        lps_grid(source, (0.7, 0.9, 1.1)),
        Grid((4, 4, 4), (0.5,) * 3, source.box.center, oblique(25)),
    ):
        sampled = resample(volume, target, fill=np.nan).array
        places = target.ijk_to_lps(np.indices(target.shape_zyx).reshape(3, -1).T[:, ::-1])
        ijk = source.lps_to_ijk(places)
        inside = ((ijk >= 0) & (ijk <= np.asarray(source.shape_zyx[::-1]) - 1)).all(axis=1)
        assert inside.sum() > 20
        np.testing.assert_allclose(sampled.ravel()[inside], (places @ [2.0, -3.0, 5.0])[inside], atol=1e-3)


def test_parallel_and_general_resampling_agree(make_ct):
    scan = make_ct(Grid((24, 28, 32), (1.5, 2.0, 2.5), (-20.0, 10.0, 300.0)))
    coarse = lps_grid(scan.grid, (4.0, 4.0, 4.0))
    # A turn too small to move anything sends it the other way.
    turned = Grid(scan.grid.shape_zyx, scan.grid.spacing_xyz, scan.grid.origin_xyz, oblique(0.003))
    one, other = resample(scan, coarse).array, resample(Image(scan.array, turned), coarse).array
    assert one.std() > 200
    assert np.abs(one - other)[1:-1, 1:-1, 1:-1].max() < 15


def test_outside_is_air_for_scans_and_background_for_labels(small_ct):
    far = Grid((3, 3, 3), origin_xyz=(900.0, 900.0, 900.0))
    assert (resample(small_ct, far).array == -1024).all()
    assert (resample(small_ct, far, fill=7).array == 7).all()
    labels = LabelMap(np.ones(small_ct.grid.shape_zyx, np.uint8), small_ct.grid)
    assert (resample(labels, far).array == 0).all()
    # Half outside: the first sample lies 1 mm before the first voxel's outer face.
    x0, y0, z0 = small_ct.grid.origin_xyz
    across = resample(small_ct, Grid((2, 2, 2), (1.75, 1.0, 1.0), (x0 - 1.75, y0, z0))).array
    assert (across[..., 0] == -1024).all()
    assert (across[..., 1] > -1024).all()


def test_volume_needs_an_array_of_its_grid():
    with pytest.raises(GeometryError, match="shape"):
        Image(np.zeros((3, 4, 5), np.int16), Grid((5, 4, 3)))


# Labels and what belongs together


def test_label_maps_are_small_unsigned_numbers(tmp_path):
    for value, dtype in ((255, np.uint8), (300, np.uint16)):
        array = np.zeros((4, 4, 4), np.float32)
        array[1, 2, 3] = value
        sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "l.nii.gz"))
        again = read_label_map(tmp_path / "l.nii.gz")
        assert again.array.dtype == dtype
        assert again.array[1, 2, 3] == value


@pytest.mark.parametrize("value", [0.5, -1.0, 70000.0])
def test_what_is_no_label_map_is_refused(tmp_path, value):
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "l.nii.gz"))
    with pytest.raises(VolumeError, match=rf"l\.nii\.gz: not a label map: values .*{value:g}"):
        read_label_map(tmp_path / "l.nii.gz")


def test_empty_and_unnamed_labels_are_refused(tmp_path):
    grid = Grid((4, 4, 4))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    with pytest.raises(VolumeError, match=r"a\.nii\.gz: the label map is empty"):
        check_labels(LabelMap(labels, grid, Source(tmp_path / "a.nii.gz")), {1: "liver"})
    labels[0, 0, :2] = (1, 9)
    with pytest.raises(TemplateError, match=r"a\.nii\.gz: value 9 has no name .*known: 1 liver"):
        check_labels(LabelMap(labels, grid, Source(tmp_path / "a.nii.gz")), {1: "liver"})
    check_labels(LabelMap(labels, grid), {1: "liver", 9: "spleen", 10: "not drawn"})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Grid((4, 5, 7), (1.0, 1.0, 2.0)), "7 x 5 x 4 voxels against 6 x 5 x 4"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.5)), r"spacing is \[1.0, 1.0, 2.5\] against"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.0), (0.0, 0.0, 3.0)), r"3.0 mm apart; origin is \[0.0, 0.0, 3.0\]"),
        (Grid((4, 5, 6), (1.0, 1.0, 2.0), direction=oblique(5)), "direction is"),
    ],
)
def test_labels_on_another_grid_are_refused_naming_both(tmp_path, other, words):
    grid = Grid((4, 5, 6), (1.0, 1.0, 2.0))
    image = Image(np.zeros(grid.shape_zyx, np.int16), grid, Source(tmp_path / "image.nrrd"))
    check_same_grid(image, image)
    labels = LabelMap(np.zeros(other.shape_zyx, np.uint8), other, Source(tmp_path / "labels.nrrd"))
    with pytest.raises(GeometryError, match=words) as caught:
        check_same_grid(image, labels)
    assert "labels.nrrd" in str(caught.value)
    assert "image.nrrd" in str(caught.value)


# Real CT


@pytest.mark.realdata
def test_real_scans_are_read_and_pictures_of_scans_are_not(real_ct):
    scans = [
        *sorted(real_ct.glob("body/*/image.nii.gz")),
        *sorted(real_ct.glob("lesions/sts_*/image.nii.gz"))[::4],
    ]
    scans += sorted(real_ct.glob("openkbp/imagesTr/*.nii.gz"))[::25]
    assert len(scans) > 20
    for path in scans:
        scan = read_image(path)
        assert scan.array.dtype == np.int16, path
        assert scan.array.min() >= -1024
        labels = path.with_name("labels.nii.gz")
        if labels.is_file():
            check_same_grid(scan, read_label_map(labels))
    pictures = sorted(real_ct.glob("lesions/deeplesion_*/image.nii.gz"))
    assert pictures
    for path in pictures:
        with pytest.raises(VolumeError, match=r"values 0 to 255.*8-bit"):
            read_image(path)
