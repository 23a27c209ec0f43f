"""The slider: what is drawn in which slice, and what a move, another window and an edit do."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from medlsam.export.notebook.cells import Table
from medlsam.export.notebook.shown import Shown, shown_localization, shown_segmentation
from medlsam.export.notebook.slider import SliderPanel, draw_slice
from medlsam.geometry import Box, Grid
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap
from medlsam.windows import WINDOWS
from tests.support.fakes.widgets import fake_ipywidgets

GRID = Grid((9, 60, 80), (2.0, 3.0, 5.0), (-80.0, -90.0, 100.0))
TABLE = Table("made", ("structure",), (("gland",),))
#: In the patient's left (x high), front (y low), and in slices 4 to 6.
PLACE = np.s_[4:7, 8:20, 60:74]


@pytest.fixture
def shown() -> Shown:
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[PLACE] = 5
    image = Image(np.full(GRID.shape_zyx, 40, np.int16), GRID)
    made = Segmentation("made", LabelMap(labels, GRID), {5: "gland"}, Localization("made", {}), image=image)
    return shown_segmentation(made, None, TABLE)


def coloured(data: bytes, colour: str) -> NDArray[np.bool_]:
    """The pixels (row, column) of a PNG file that have nearly a colour."""
    pixels = np.asarray(matplotlib.image.imread(io.BytesIO(data)))[..., :3]
    return np.asarray(np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.15)


def test_the_outline_lies_where_the_mask_is(shown: Shown) -> None:
    found = coloured(draw_slice(shown, 5, WINDOWS["abdomen"]), shown.colours["gland"])
    rows, columns = np.nonzero(found)
    # The patient's left is at the right of the picture, the front at the top.
    for places, low, high, size in ((columns, 60, 74, 80), (rows, 8, 20, 60)):
        edges = np.array([places.min(), places.max() + 1]) / found.shape[0 if size == 60 else 1] * size
        assert np.abs(edges - (low, high)).max() < 1.0
    assert not coloured(draw_slice(shown, 2, WINDOWS["abdomen"]), shown.colours["gland"]).any()


def test_the_picture_has_the_scans_proportions(shown: Shown) -> None:
    picture = coloured(draw_slice(shown, 5, WINDOWS["abdomen"]), "#ffffff")
    assert picture.shape[0] / picture.shape[1] == pytest.approx(180 / 160, rel=0.01)


def test_moves_windows_and_edits_draw_anew(shown: Shown) -> None:
    panel = SliderPanel(fake_ipywidgets(), shown, "abdomen")
    assert (panel._slice.value, panel._slice.max) == (4, 8)
    assert panel._place.value == "4 (0 to 8), z = 120.0 mm (LPS)"
    colour = shown.colours["gland"]
    first = panel._picture.value
    assert coloured(first, colour).any()
    panel.set_window("lung")
    assert panel._picture.value != first
    panel._slice.value = 1
    assert not coloured(panel._picture.value, colour).any()
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    labels[1, 8:20, 60:74] = 5
    panel.update(shown.with_labels(LabelMap(labels, GRID), {5: "gland"}, Table("edited", ("structure",), ())))
    assert panel._slice.value == 1  # it stays where it is
    assert coloured(panel._picture.value, colour).any()
    assert "edited" in panel._table.value


def test_boxes_are_drawn_where_they_are() -> None:
    box = Box((20.0, -60.0, 118.0), (60.0, -30.0, 132.0))
    found = Localization(
        "made",
        {"gland": LocatedStructure("gland", "uncertain", 0.5, box=box)},
        Image(np.full(GRID.shape_zyx, 40, np.int16), GRID),
    )
    shown = shown_localization(found, None, TABLE)
    counts = [
        coloured(draw_slice(shown, z, WINDOWS["abdomen"]), shown.colours["gland"]).sum() for z in range(9)
    ]
    assert [z for z, count in enumerate(counts) if count] == [4, 5, 6]
