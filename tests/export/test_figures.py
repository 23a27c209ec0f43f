"""Pictures: what lies where in them, not only that there are some."""

from __future__ import annotations

import io
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from medlsam.errors import UsageError
from medlsam.export.figures import Picture, draw_localization, draw_segmentation, draw_structure, png, scene
from medlsam.export.planes import BOX, MASK, REFERENCE
from medlsam.geometry import Box, Grid, mask_box
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap

GRID = Grid((30, 60, 50), (2.0, 1.0, 4.0), (-50.0, -30.0, 100.0))
#: In the patient's left (x high), front (y low) and head (z high) part.
PLACE = np.s_[18:24, 10:22, 32:42]


@pytest.fixture
def scan() -> Image:
    return Image(np.random.default_rng(0).integers(-50, 50, GRID.shape_zyx).astype(np.int16), GRID)


@pytest.fixture
def labels() -> LabelMap:
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[PLACE] = 3
    return LabelMap(array, GRID)


@pytest.fixture
def structure(labels: LabelMap) -> LocatedStructure:
    box = mask_box(labels.array == 3, GRID).expand(3.0)
    return LocatedStructure("gland", "found", 0.87, 2.0, box=box, prompt_box=box)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(matplotlib.image.imread(io.BytesIO(png(picture))))[..., :3]


def share(picture: Picture, colour: str) -> float:
    """How much of a picture has nearly this colour."""
    return float((np.abs(pixels(picture) - to_rgb(colour)).max(axis=-1) < 0.08).mean())


def test_three_planes_in_mm(scan: Image, labels: LabelMap, structure: LocatedStructure) -> None:
    axial, coronal, sagittal = draw_structure(scene(scan, labels, {3: "gland"}), structure).axes
    for axes in (axial, coronal, sagittal):
        assert axes.get_aspect() == 1
    # The patient's right is on the left, front and head are at the top.
    assert axial.get_xlim()[0] < axial.get_xlim()[1]
    assert axial.get_ylim()[0] > axial.get_ylim()[1]
    assert coronal.get_ylim()[0] < coronal.get_ylim()[1]
    assert sagittal.get_xlim()[0] < sagittal.get_xlim()[1]
    assert [t.get_text() for t in axial.texts][:4] == ["R", "L", "A", "P"]
    assert [t.get_text() for t in sagittal.texts][:4] == ["A", "P", "S", "I"]
    left, right, bottom, top = axial.images[0].get_extent()
    assert (left, right) == (GRID.box.min[0], GRID.box.max[0])
    assert (bottom, top) == (GRID.box.min[1], GRID.box.max[1])


def test_the_box_is_drawn_where_it_is(scan: Image, labels: LabelMap, structure: LocatedStructure) -> None:
    assert structure.box is not None
    for axes, across, up in zip(
        draw_structure(scene(scan, labels, {3: "gland"}), structure).axes, (0, 0, 1), (1, 2, 2), strict=True
    ):
        (x0, y0), (x1, y1) = axes.patches[0].get_bbox().get_points()
        assert (x0, x1) == pytest.approx((structure.box.min[across], structure.box.max[across]))
        assert (y0, y1) == pytest.approx((structure.box.min[up], structure.box.max[up]))


def test_the_slice_goes_through_the_mask(labels: LabelMap, structure: LocatedStructure) -> None:
    # Only the structure is bright, so a slice beside it would be black.
    bright = Image(np.where(labels.array == 3, 200, -1000).astype(np.int16), GRID)
    for axes in draw_structure(scene(bright, labels, {3: "gland"}), structure).axes:
        assert axes.images[0].get_array().max() == 200


@pytest.mark.parametrize("direction", [(-1, 0, 0, 0, -1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 0, 0, -1, 0)])
def test_other_axis_orders_look_the_same(
    direction: tuple[float, ...], scan: Image, labels: LabelMap, structure: LocatedStructure
) -> None:
    """The same body stored along other axes gives the same picture."""
    from medlsam.volume import from_canonical

    matrix = np.asarray(direction).reshape(3, 3)
    order = [int(np.abs(matrix[:, axis]).argmax()) for axis in range(3)]  # LPS axis of each voxel axis
    sizes, spacing = np.asarray(GRID.shape_zyx[::-1])[order], np.asarray(GRID.spacing_xyz)[order]
    center = np.asarray(GRID.box.center)
    origin = center - matrix @ ((sizes - 1) / 2 * spacing)
    turned = Grid(tuple(int(n) for n in sizes[::-1]), tuple(spacing), tuple(origin), direction)
    other = scene(
        Image(from_canonical(scan.array, GRID, turned), turned),
        LabelMap(from_canonical(labels.array, GRID, turned), turned),
        {3: "gland"},
    )
    np.testing.assert_array_equal(
        pixels(draw_structure(other, structure)),
        pixels(draw_structure(scene(scan, labels, {3: "gland"}), structure)),
    )


def test_colours(scan: Image, labels: LabelMap, structure: LocatedStructure) -> None:
    names = {3: "gland"}
    empty = LabelMap(np.zeros_like(labels.array), GRID)
    moved = LabelMap(np.roll(labels.array, 4, axis=1), GRID)
    assert share(draw_structure(scene(scan, empty, names), structure), BOX) > 1e-3
    # Legends show a line of each colour, so what is in the picture is more than that.
    plain = draw_structure(scene(scan, empty, names), structure)
    assert share(draw_structure(scene(scan, labels, names), structure), MASK) > 3 * share(plain, MASK)
    assert share(plain, REFERENCE) == 0
    assert share(draw_structure(scene(scan, labels, names, moved), structure), REFERENCE) > 1e-3


def test_nothing_to_draw(scan: Image) -> None:
    with pytest.raises(UsageError, match="gland: neither a mask nor a box"):
        draw_structure(scene(scan), "gland")


def test_a_structure_at_the_border(scan: Image) -> None:
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[0, 0, 0] = 1
    assert share(draw_structure(scene(scan, LabelMap(array, GRID), {1: "corner"}), "corner"), MASK) > 0


def test_segmentation_and_localization(scan: Image, labels: LabelMap, structure: LocatedStructure) -> None:
    missing = LocatedStructure("ghost", "missing", 0.1)
    localization = Localization("case", {"gland": structure, "ghost": missing}, scan)
    segmentation = Segmentation("case", labels, {3: "gland", 9: "ghost"}, localization, image=scan)
    assert len(draw_segmentation(segmentation).axes) == 3  # one row: the ghost has nothing to draw
    picture = draw_localization(localization)
    assert len(picture.axes[0].patches) == 1
    assert any("ghost" in text.get_text() for axes in picture.axes for text in axes.texts)
    assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="keeps no scan"):
        draw_segmentation(replace(segmentation, image=None))
    with pytest.raises(UsageError, match="keeps no scan"):
        draw_localization(replace(localization, image=None))


def test_a_box_alone(scan: Image) -> None:
    structure = LocatedStructure("gland", "uncertain", 0.3, box=Box((0, 0, 110), (40, 20, 140)))
    picture = draw_structure(scene(scan), structure)
    assert "uncertain" in picture.get_suptitle()
    assert [len(axes.patches) for axes in picture.axes] == [1, 1, 1]


def test_the_projections_show_boxes_as_located(scan: Image) -> None:
    """After segmentation ``box`` is the mask's; what was located is what these pictures are about."""
    located = Box((-20, -10, 110), (20, 10, 150))
    structure = LocatedStructure(
        "gland", "found", 0.9, box=Box((0, 0, 120), (10, 5, 130)), located_box=located
    )
    picture = draw_localization(Localization("case", {"gland": structure}, scan))
    drawn = picture.axes[0].patches[0]
    assert (drawn.get_x(), drawn.get_y()) == (-20, 110)
    assert (drawn.get_width(), drawn.get_height()) == (40, 40)
