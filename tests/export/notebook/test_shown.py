"""What is shown: numbered labels, boxes as faces, and no label left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.export.anatomy import colour_of
from medlsam.export.notebook.cells import Table
from medlsam.export.notebook.shown import shown_localization, shown_segmentation
from medlsam.volume import LabelMap
from tests.export.notebook.made import GRID, localization, segmentation, stored, upright
from tests.support.data.orientations import ORIENTATIONS, oblique

TABLE = Table("made", ("structure",), (("liver",), ("kidney_left",)))


def test_structures_are_numbered() -> None:
    _, labels = upright()
    shown = shown_segmentation(segmentation(), None, TABLE)
    assert shown.structures == ("liver", "kidney_left")
    assert shown.labels.dtype == np.uint8
    assert np.array_equal(shown.labels == 1, labels == 3)
    assert np.array_equal(shown.labels == 2, labels == 700)
    assert shown.colours["liver"] == "#{:02x}{:02x}{:02x}".format(*colour_of("liver"))
    assert shown.colours["liver"] in shown.html()
    assert shown.fullest_slice in (1, 2)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_labels_without_a_name_are_shown(kind: type) -> None:
    made = segmentation()
    array = made.labels.array.astype(kind)
    array[0, 0, 0] = 9
    if kind is not np.uint16:
        array[0, 0, 1] = -2
    shown = shown_segmentation(replace(made, labels=LabelMap(array, GRID)), None, TABLE)
    rest = [name for name in shown.structures if "without a name" in name]
    assert [name.split()[1].rstrip(",") for name in rest] == (["9"] if kind is np.uint16 else ["-2", "9"])
    assert shown.structures[shown.labels[0, 0, 0] - 1].startswith("label 9")


def test_many_structures_take_two_bytes() -> None:
    array = np.zeros(GRID.shape_zyx, np.uint16)
    array.flat[:200] = np.arange(200)
    names = {value: f"part {value}" for value in range(1, 300)}
    shown = shown_segmentation(
        replace(segmentation(), labels=LabelMap(array, GRID), names=names), None, TABLE
    )
    assert shown.labels.dtype == np.uint16
    assert shown.structures[shown.labels.flat[199] - 1] == "part 199"


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_labels_may_lie_another_way_round_than_the_scan(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    _, labels = upright()
    turned = LabelMap(*stored(labels, order, signs))
    shown = shown_segmentation(replace(segmentation(), labels=turned), None, TABLE)
    assert np.array_equal(shown.labels == 1, labels == 3)


def test_oblique_labels_meet_their_scan() -> None:
    made = segmentation()
    assert made.image is not None
    grid = replace(GRID, direction=oblique(20))
    shown = shown_segmentation(
        replace(made, image=replace(made.image, grid=grid), labels=replace(made.labels, grid=grid)),
        None,
        TABLE,
    )
    points = grid.ijk_to_lps([[2, 2, 1], [6, 4, 3]])
    for point, number in zip(points, (1, 2), strict=True):
        x, y, z = np.rint(shown.image.grid.lps_to_ijk(point)).astype(int)
        assert shown.labels[z, y, x] == number


def test_boxes_are_their_faces() -> None:
    shown = shown_localization(localization(), None, TABLE)
    assert shown.structures == ("liver", "kidney_left")
    assert set(shown.boxes) == {"liver", "kidney_left"}
    assert shown.uncertain == {"kidney_left"}
    # A box of 2 x 2 x 3 voxels is all face but for nothing inside; none of it lies outside of the mask.
    _, labels = upright()
    assert np.array_equal(shown.labels == 1, labels == 3)
    wide = localization()
    box = wide.structures["liver"].box
    assert box is not None
    own = replace(wide.structures["liver"], box=box.expand(100.0), located_box=box.expand(100.0))
    beyond = shown_localization(replace(wide, structures={"liver": own}), None, TABLE)
    assert not beyond.labels.any()  # every face lies beyond the scan


def test_without_a_scan_it_says_so() -> None:
    made = segmentation()
    with pytest.raises(UsageError, match="made: the result keeps no scan"):
        shown_segmentation(replace(made, image=None), None, TABLE)
    with pytest.raises(UsageError, match="give the scan as `image`"):
        shown_localization(replace(made.localization, image=None), None, TABLE)
    assert shown_segmentation(replace(made, image=None), made.image, TABLE).labels.any()
