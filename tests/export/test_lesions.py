"""Pictures of lesions: the axes are drawn where they are, in the slice of the longest diameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.export.figures import png
from medlsam.export.lesions.diameters import (
    LONGEST,
    MOST_LESIONS,
    OUTLINE,
    PERPENDICULAR,
    LesionScene,
    draw_diameters,
    draw_follow_up,
)
from medlsam.export.lesions.masks import draw_lesions
from medlsam.export.planes import SOFT_TISSUE
from medlsam.geometry import Grid, mask_box
from medlsam.lesion.propagate.organ import LesionOrgan
from medlsam.lesion.propagate.prompts import LesionPrompt
from medlsam.lesion.propagate.run import LesionMask
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.lesion.recist.response import Findings, assess
from medlsam.lesion.recist.track import FollowUp, Sighting, Track
from medlsam.measure.lesions import measure_lesions
from medlsam.volume import Image, LabelMap
from medlsam.windows import WINDOWS

LUNG = (WINDOWS["lung"].low, WINDOWS["lung"].high)

# Stored from the head down and from the left to the right.
GRID = Grid((12, 40, 50), (2.0, 2.0, 3.0), (100.0, -20.0, 133.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))


def scene() -> tuple[Image, LabelMap, list[Lesion]]:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[3:6, 10:20, 20:28] = 1
    labels[4, 10:24, 20:28] = 1
    labels[8:10, 25:32, 35:45] = 2
    scan = Image(np.where(labels > 0, 60, -800).astype(np.int16), GRID)
    mask = LabelMap(labels, GRID)
    return scan, mask, [Lesion(own, Kind("m", "lung")) for own in measure_lesions(mask, scan)]


def test_the_axes_are_drawn_where_they_are() -> None:
    scan, mask, lesions = scene()
    picture = draw_diameters(scan, mask, lesions)
    axes = picture.axes[0]
    drawn = {line.get_color(): line.get_xydata() for line in axes.get_lines()}
    assert drawn[LONGEST] == pytest.approx(np.array(lesions[0].measured.longest_line)[:, :2])
    assert drawn[PERPENDICULAR] == pytest.approx(np.array(lesions[0].measured.perpendicular_line)[:, :2])
    # Slice 4 of the array, in which the lesion is longest: its rows are turned, the columns mirrored.
    shown = axes.images[0].get_array()
    assert shown is not None
    assert (np.asarray(shown) == scan.array[4, :, ::-1]).all()
    assert axes.images[0].get_clim() == LUNG
    own = lesions[0].measured
    assert axes.get_title() == (
        f"1   metastasis, lung\n{own.longest_mm:.1f} × {own.perpendicular_mm:.1f} mm   {own.volume_ml:.2f} ml   slice 8"
    )
    assert len({LONGEST, PERPENDICULAR, OUTLINE}) == 3
    assert png(picture)[:4] == b"\x89PNG"


def test_only_the_largest_are_drawn_and_nothing_is_refused() -> None:
    scan, mask, lesions = scene()
    many = [Lesion(lesions[1].measured)] * MOST_LESIONS + lesions[:1]
    picture = draw_diameters(scan, mask, many)
    assert len(picture.axes) == MOST_LESIONS
    assert picture.axes[0].get_title().startswith("1   metastasis, lung")
    with pytest.raises(UsageError, match="no lesion to draw"):
        draw_diameters(scan, mask, [])


@pytest.mark.parametrize(
    ("kind", "around_hu", "window"),
    [
        ("m,lung_left", 30, LUNG),
        ("t,Lung", 30, LUNG),
        ("m,liver", -850, SOFT_TISSUE),
        ("n,lung", -850, SOFT_TISSUE),
        ("", -850, LUNG),
        ("m", -850, LUNG),
        ("tumour", -850, LUNG),
        ("lung_nodule", 30, LUNG),
        ("", 30, SOFT_TISSUE),
        ("", -100, SOFT_TISSUE),
        ("", -1000, SOFT_TISSUE),
    ],
)
def test_lung_lesions_are_drawn_in_the_lungs_window(
    kind: str, around_hu: int, window: tuple[float, float]
) -> None:
    """The site decides; where nobody says it, what is around the lesion: lung, but not the air outside of a body."""
    _, mask, lesions = scene()
    scan = Image(np.where(mask.array > 0, 60, around_hu).astype(np.int16), GRID)
    picture = draw_diameters(scan, mask, [Lesion(lesions[0].measured, Kind.parse(kind))])
    assert picture.axes[0].images[0].get_clim() == window


@pytest.mark.parametrize(
    ("organ", "relation", "around_hu", "window"),
    [
        ("lung_left", "inside", 30, LUNG),
        ("liver", "inside", -850, SOFT_TISSUE),
        ("lung_left", "near", 30, SOFT_TISSUE),
        ("lung_left", "near", -850, LUNG),
        (None, "none", -850, LUNG),
    ],
)
def test_segmented_lesions_are_drawn_in_the_same_windows(
    organ: str | None, relation: Any, around_hu: int, window: tuple[float, float]
) -> None:
    """A node of the mediastinum may have a lung as its nearest organ: it is not in it."""
    array = scene()[1].array == 2
    scan = Image(np.where(array, 60, around_hu).astype(np.int16), GRID)
    prompt = LesionPrompt("a", "", mask_box(array, GRID))
    place = LesionOrgan(organ, relation, None, {}, 0.0)
    # Slice 8 of the array is the fourth from the feet.
    lesion = LesionMask(prompt, 1, array, (0, 0, 0), array.shape, 3, place, 1.0, 2, 20.0, 14.0, 60.0, 0.1)
    picture = draw_lesions(scan, [lesion])
    assert [axes.images[0].get_clim() for axes in picture.axes] == [window] * 3


def test_a_lesion_at_the_pleura_is_in_the_lung() -> None:
    _, mask, lesions = scene()
    hu = np.where(mask.array > 0, 60, -850).astype(np.int16)
    # Beyond its outer side is the chest's wall.
    hu[:, :, 28:] = 40
    picture = draw_diameters(Image(hu, GRID), mask, [Lesion(lesions[0].measured)])
    assert picture.axes[0].images[0].get_clim() == LUNG


def test_a_picture_of_anisotropic_voxels_is_in_millimetres() -> None:
    grid = Grid((6, 40, 40), (1.0, 2.0, 5.0))
    labels = np.zeros(grid.shape_zyx, np.uint8)
    labels[2:4, 10:20, 10:30] = 1
    mask = LabelMap(labels, grid)
    picture = draw_diameters(
        Image(labels.astype(np.int16), grid), mask, [Lesion(own) for own in measure_lesions(mask)]
    )
    axes = picture.axes[0]
    assert axes.get_aspect() == 1
    left, right, bottom, top = axes.images[0].get_extent()
    assert (right - left, top - bottom) == (40, 80)
    # The patient's right is on the left of the picture, the front at its top.
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_a_follow_up_shows_targets_and_new_lesions_at_every_visit() -> None:
    """A row each; a visit that could not be read and a lesion that was not there yet are said in words."""
    scan, mask, lesions = scene()
    first, second = (own.measured for own in lesions)
    kind = Kind("m", "lung")
    seen = [
        Sighting("measured", (Lesion(own, kind),), own.longest_mm, own.volume_ml) for own in (first, second)
    ]
    tracks = (
        Track(1, kind, (seen[0], Sighting("not_evaluated"), seen[0]), "A"),
        Track(2, kind, (Sighting("not_yet"), Sighting("not_evaluated"), seen[1])),
    )
    answers = assess(
        [False], [Findings((20.0,)), Findings((None,), (), 0, "damaged"), Findings((20.0,), (), 1)]
    )
    found = FollowUp(
        ("a", "b", "c"), tracks, tuple(answers), (20.0, None, 20.0), (1.0, None, 1.0), ((), (), (2,))
    )
    whole = LesionScene(scan, mask)
    picture = draw_follow_up(found, [whole, None, whole])
    titles = [axes.get_title() for axes in picture.axes]
    assert [len(axes.images) for axes in picture.axes] == [1, 0, 1, 0, 0, 1]
    assert titles[1] == "A   metastasis, lung   b\nnot evaluated"
    assert titles[3] == "new 2   metastasis, lung   a\nnot yet"
    story = picture.get_suptitle()
    assert story.splitlines()[1:] == ["a: 20.0 mm, baseline", "b: not evaluable, NE", "c: 20.0 mm, PD"]


def test_another_lesion_of_the_same_value_is_not_outlined() -> None:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[4:7, 10:18, 10:18] = 1
    labels[4:7, 25:33, 30:38] = 1
    mask = LabelMap(labels, GRID)
    scan = Image(np.zeros(GRID.shape_zyx, np.int16), GRID)
    for lesion in measure_lesions(mask):
        axes = draw_diameters(scan, mask, [Lesion(lesion)]).axes[0]
        drawn = np.concatenate([path.vertices for own in axes.collections for path in own.get_paths()])
        assert (drawn.min(axis=0) >= np.asarray(lesion.box.min[:2]) - 0.01).all()
        assert (drawn.max(axis=0) <= np.asarray(lesion.box.max[:2]) + 0.01).all()
