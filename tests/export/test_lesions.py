"""Pictures of lesions: the axes are drawn where they are, in the slice of the longest diameter."""

from __future__ import annotations

import numpy as np
import pytest

from medlsam.errors import UsageError
from medlsam.export.figures import png
from medlsam.export.lesions import LONGEST, LUNG, MOST_LESIONS, PERPENDICULAR, draw_lesions
from medlsam.geometry import Grid
from medlsam.lesion.recist.lesion import Kind, Lesion
from medlsam.measure.lesions import measure_lesions
from medlsam.volume import Image, LabelMap

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
    picture = draw_lesions(scan, mask, lesions)
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
    assert (
        axes.get_title()
        == f"1  m,lung   {own.longest_mm:.1f} × {own.perpendicular_mm:.1f} mm   {own.volume_ml:.1f} ml"
    )
    assert png(picture)[:4] == b"\x89PNG"


def test_only_the_largest_are_drawn_and_nothing_is_refused() -> None:
    scan, mask, lesions = scene()
    many = [Lesion(lesions[1].measured)] * MOST_LESIONS + lesions[:1]
    picture = draw_lesions(scan, mask, many)
    assert len(picture.axes) == MOST_LESIONS
    assert picture.axes[0].get_title().startswith("1  m,lung")
    with pytest.raises(UsageError, match="no lesion to draw"):
        draw_lesions(scan, mask, [])
