"""A structure's picture shows the right place, whichever way the scan is stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medlsam.export.thumbnails.raster import rgb
from medlsam.export.thumbnails.three_planes import GAP, SIDE, Labelled, paint_three_planes, place_of
from medlsam.export.views import BOX, MASK, PLANES, REFERENCE
from medlsam.geometry import Box, Grid, mask_box
from medlsam.results import LocatedStructure
from medlsam.volume import Image, LabelMap, from_canonical, resample

GRID = Grid((30, 60, 50), (2.0, 1.0, 4.0), (-50.0, -30.0, 100.0))
#: In the patient's left (x high), front (y low) and head (z high) part.
PLACE = np.s_[18:24, 10:22, 32:42]
#: The 48 ways to store a scan along the axes.
WAYS = [
    np.asarray(signs)[None, :] * np.eye(3)[:, list(order)]
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


@pytest.fixture(scope="module")
def body() -> tuple[Image, LabelMap, LocatedStructure]:
    """A bright organ with a brighter spot in its left front upper corner."""
    array = np.zeros(GRID.shape_zyx, np.int16)
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    array[PLACE], labels[PLACE] = 100, 3
    array[21:24, 10:15, 38:42] = 230
    box = mask_box(labels == 3, GRID)
    located = LocatedStructure(
        "gland", "found", 0.9, box=box, located_box=box.expand(6.0), prompt_box=box.expand(14.0)
    )
    return Image(array, GRID), LabelMap(labels, GRID), located


def pixels(*arguments: object, **more: object) -> np.ndarray:
    found = paint_three_planes(*arguments, **more)  # type: ignore[arg-type]
    assert found is not None
    assert found.shape == (SIDE, 3 * SIDE + 2 * GAP, 3)
    return found.astype(int)


def planes(*arguments: object, **more: object) -> list[np.ndarray]:
    return [pixels(*arguments, **more)[:, k * (SIDE + GAP) : k * (SIDE + GAP) + SIDE] for k in range(3)]


def having(shown: np.ndarray, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that have a colour."""
    return np.nonzero((shown == rgb(colour)).all(axis=-1))


def turned(image: Image, labels: LabelMap, matrix: np.ndarray) -> tuple[Image, LabelMap]:
    """The same body, stored along other axes."""
    order = [int(np.abs(matrix[:, axis]).argmax()) for axis in range(3)]
    sizes, spacing = np.asarray(GRID.shape_zyx[::-1])[order], np.asarray(GRID.spacing_xyz)[order]
    origin = np.asarray(GRID.box.center) - matrix @ ((sizes - 1) / 2 * spacing)
    grid = Grid(tuple(int(n) for n in sizes[::-1]), tuple(spacing), tuple(origin), tuple(matrix.ravel()))
    return (
        Image(from_canonical(image.array, GRID, grid), grid),
        LabelMap(from_canonical(labels.array, GRID, grid), grid),
    )


@pytest.mark.parametrize(
    ("plane", "spot", "right", "up"),
    [
        ("axial", np.s_[18:24, 10:15, 38:42], True, True),  # left and front
        ("coronal", np.s_[21:24, 10:22, 38:42], True, True),  # left and head
        ("sagittal", np.s_[21:24, 10:15, 32:42], False, True),  # front and head
    ],
)
def test_the_patient_lies_as_radiologists_expect(
    plane: str, spot: tuple[slice, ...], right: bool, up: bool
) -> None:
    """A spot in a corner of the organ, through its whole depth."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[PLACE] = 3
    array = np.where(labels == 3, 100, -160).astype(np.int16)
    array[spot] = 240
    located = LocatedStructure("gland", "found", 0.9, box=mask_box(labels == 3, GRID))
    shown = planes(Image(array, GRID), Labelled(LabelMap(labels, GRID), 3), located)
    grey = shown[[own.name for own in PLANES].index(plane)].min(axis=-1)
    rows, columns = np.nonzero(grey[20:-20, 20:-20] > 235)
    assert rows.size > 50
    assert (columns.mean() > (SIDE - 40) / 2) == right
    assert (rows.mean() < (SIDE - 40) / 2) == up


def test_all_48_ways_to_store_a_scan_look_the_same(body: tuple[Image, LabelMap, LocatedStructure]) -> None:
    image, labels, located = body
    expected = pixels(image, Labelled(labels, 3), located)
    assert len(WAYS) == 48
    for matrix in WAYS:
        other, own = turned(image, labels, matrix)
        found = pixels(other, Labelled(own, 3), located)
        # The middle of an even number of voxels may be either of two.
        assert np.abs(found - expected).mean() < 6, matrix
        assert np.mean(np.abs(found - expected).max(axis=-1) > 60) < 0.04, matrix


def test_an_oblique_scan_shows_the_same_place(body: tuple[Image, LabelMap, LocatedStructure]) -> None:
    image, labels, located = body
    angle = np.deg2rad(20)
    matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    size = np.array([80, 80, 40])
    spacing = np.array([1.5, 1.5, 4.0])
    origin = np.asarray(GRID.box.center) - matrix @ ((size - 1) / 2 * spacing)
    grid = Grid((40, 80, 80), tuple(spacing), tuple(origin), tuple(matrix.ravel()))
    other, own = resample(image, grid), resample(labels, grid)
    expected = pixels(image, Labelled(labels, 3), located)
    found = pixels(other, Labelled(own, 3), located)
    assert np.mean(np.abs(found - expected).max(axis=-1) > 60) < 0.15
    moved = np.roll(expected, 12, axis=1)
    assert np.abs(found - expected).mean() < np.abs(found - moved).mean()


def test_outline_and_boxes_are_where_they_are(body: tuple[Image, LabelMap, LocatedStructure]) -> None:
    image, labels, located = body
    empty = Image(np.full_like(image.array, -1000), GRID)
    assert located.box is not None
    assert located.prompt_box is not None
    for plane, shown in zip(PLANES, planes(empty, Labelled(labels, 3), located), strict=True):
        rows, columns = having(shown, MASK)
        boxed_rows, boxed_columns = having(shown, BOX)
        mm = np.ptp(columns) / located.box.size[plane.across]
        assert np.ptp(rows) / mm == pytest.approx(located.box.size[plane.up], rel=0.1), plane.name
        assert np.ptp(boxed_columns) / mm == pytest.approx(located.prompt_box.size[plane.across], abs=4), (
            plane.name
        )
        assert np.ptp(boxed_rows) / mm == pytest.approx(located.prompt_box.size[plane.up], abs=4), plane.name
        # The box as located lies 6 mm outside of the mask: a whole line, so the row has it wherever it is looked at.
        row = shown[int(np.median(rows))]
        lines = np.flatnonzero((row == rgb(BOX)).all(axis=-1))
        edge = np.flatnonzero((row == rgb(MASK)).all(axis=-1))[0]
        assert (edge - lines[lines < edge].max()) / mm == pytest.approx(6, abs=2.5), plane.name
    bare = LocatedStructure("gland", "found", 0.9, box=located.box, located_box=located.box.expand(500.0))
    assert all(having(shown, MASK)[0].size for shown in planes(empty, Labelled(labels, 3), bare)), (
        "however small"
    )


def test_a_box_that_the_plane_does_not_cut_is_not_drawn(
    body: tuple[Image, LabelMap, LocatedStructure],
) -> None:
    image, labels, located = body
    assert located.box is not None
    (x0, y0, z0), (x1, y1, _) = located.box.min, located.box.max
    below = Box((x0, y0, z0 - 20), (x1, y1, z0 - 4))
    elsewhere = LocatedStructure("gland", "found", 0.9, box=located.box, located_box=below)
    axial, coronal, _ = planes(image, Labelled(labels, 3), elsewhere)
    assert not having(axial, BOX)[0].size
    assert having(coronal, BOX)[0].min() > having(coronal, MASK)[0].max(), "lower"


def test_a_reference_is_drawn_in_a_geometry_of_its_own(
    body: tuple[Image, LabelMap, LocatedStructure],
) -> None:
    image, labels, located = body
    _, reference = turned(image, LabelMap(np.roll(labels.array, 5, axis=1), GRID), WAYS[21])
    without = planes(image, Labelled(labels, 3), located)
    beside = planes(image, Labelled(labels, 3), located, reference=Labelled(reference, 3))
    assert not any(having(shown, REFERENCE)[0].size for shown in without)
    assert having(beside[0], REFERENCE)[0].max() > having(beside[0], MASK)[0].max() + 2, (
        "to the back, which is down"
    )


@pytest.mark.parametrize(("hu", "dark"), [(-800, True), (40, False), (900, False)])
def test_lungs_and_bone_are_seen_in_their_windows(hu: int, dark: bool) -> None:
    """Neither black nor white, as a lung or a bone is in a window of soft tissue."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[PLACE] = 3
    array = np.where(labels == 3, hu, 0).astype(np.int16)
    located = LocatedStructure("gland", "found", 0.9, box=mask_box(labels == 3, GRID))
    axial = planes(Image(array, GRID), Labelled(LabelMap(labels, GRID), 3), located)[0]
    grey = axial[SIDE // 2 - 4 : SIDE // 2 + 4, SIDE // 2 - 4 : SIDE // 2 + 4].mean()
    assert 20 < grey < 235
    assert (grey < 110) == dark


def test_a_corner_of_the_scan_and_a_mask_without_voxels() -> None:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[0, 0, 0] = 1
    image, own = Image(np.zeros(GRID.shape_zyx, np.int16), GRID), LabelMap(labels, GRID)
    located = LocatedStructure("corner", "found", 0.9, box=mask_box(labels == 1, GRID))
    assert all(having(shown, MASK)[0].size for shown in planes(image, Labelled(own, 1), located))
    assert paint_three_planes(image, Labelled(own, 2), located) is None
    far = LocatedStructure(
        "far", "found", 0.9, box=mask_box(labels == 1, Grid(GRID.shape_zyx, origin_xyz=(9e3, 9e3, 9e3)))
    )
    assert paint_three_planes(image, Labelled(own, 1), far) is None
    assert paint_three_planes(image, Labelled(own, 1), LocatedStructure("no box", "missing", 0.1)) is None


def test_a_thin_mask_is_seen_in_a_large_box() -> None:
    """Voxels of large masks are thinned out, and pixels are larger than voxels: a line between must not be lost."""
    labels = np.zeros((200, 200, 200), np.uint8)
    labels[1:199, 101, 103] = 1
    grid = Grid(labels.shape)
    image = Image(np.zeros(labels.shape, np.int16), grid)
    located = LocatedStructure("line", "found", 0.9, box=grid.box)
    axial, coronal, sagittal = planes(image, Labelled(LabelMap(labels, grid), 1), located)
    assert having(axial, MASK)[0].size >= 1
    for shown in (coronal, sagittal):
        assert len(set(having(shown, MASK)[0])) > 90, "a line from below to above"


def test_the_place_of_a_box_holds_it() -> None:
    for matrix in WAYS[::7]:
        _, own = turned(
            Image(np.zeros(GRID.shape_zyx, np.int16), GRID),
            LabelMap(np.ones(GRID.shape_zyx, np.uint8), GRID),
            matrix,
        )
        mask = np.zeros(own.array.shape, bool)
        mask[3:6, 4:9, 5:7] = True
        place = place_of(mask_box(mask, own.grid), own.grid)
        assert mask[place].sum() == mask.sum() == mask[place].size, "all of it, and nothing else"
