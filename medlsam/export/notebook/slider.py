"""A slider through the axial slices, with outlines: for notebooks without ipyniivue."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medlsam.export.figures import Picture, png
from medlsam.export.notebook.panel import Panel
from medlsam.export.notebook.shown import Shown
from medlsam.export.planes import PAPER, PLANES, letters, outline, rectangle, scale_bar, show
from medlsam.geometry import Grid, tight_slices
from medlsam.windows import Window

_AXIAL = PLANES[0]


class SliderPanel(Panel):
    """One axial slice at a time, drawn anew where the slider is moved to; it begins where most is labelled."""

    def __init__(self, library: ModuleType, shown: Shown, window: str) -> None:
        super().__init__(library, shown, window)
        count = shown.image.grid.shape_zyx[0]
        self._slice = library.IntSlider(
            value=shown.fullest_slice, min=0, max=count - 1, description="slice", readout=False
        )
        self._place = library.Label()
        self._picture = library.Image(format="png")
        self._picture.layout.align_self = "flex-start"  # in its own size, not as wide as the page
        self._slice.observe(lambda _: self._draw(), names="value")
        self.widget.children = (
            self._table,
            library.HBox([self._windows, self._slice, self._place]),
            self._picture,
        )
        self._draw()

    def _draw(self) -> None:
        index = self._slice.value
        self._picture.value = draw_slice(self.shown, index, self._hu)
        grid = self.shown.image.grid
        z = grid.origin_xyz[2] + index * grid.spacing_xyz[2]
        self._place.value = f"{index} (0 to {grid.shape_zyx[0] - 1}), z = {z:.1f} mm (LPS)"

    _redraw = _draw
    _rewindow = _draw


def draw_slice(shown: Shown, index: int, window: Window) -> bytes:
    """Draw an axial slice with the outlines of its structures, seen from the feet, as a PNG file.

    Args:
        shown: the scan and its structures.
        index: of the slice on the canonical grid, from the feet.
        window: of HU.
    """
    grid, colours = shown.image.grid, shown.colours
    width, height, _ = grid.box.size
    scale = 6.0 / max(width, height)
    figure = Picture(figsize=(max(width * scale, 1.5), max(height * scale, 1.5)), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    show(axes, shown.image.array[index], grid, _AXIAL, (window.low, window.high))
    z = grid.origin_xyz[2] + index * grid.spacing_xyz[2]
    for name, box in shown.boxes.items():
        if box.min[2] <= z <= box.max[2]:
            dashed = name in shown.uncertain
            axes.add_patch(rectangle(box, _AXIAL.across, _AXIAL.up, colours[name], dashed))
    labels: Any = shown.labels[index]
    for number in np.unique(labels[labels > 0]):
        name = shown.structures[number - 1]
        if name not in shown.boxes:
            _outline(axes, labels == number, grid, colours[name])
    letters(axes, _AXIAL)
    scale_bar(axes)
    return png(figure)


def _outline(axes: Axes, mask: NDArray[np.bool_], grid: Grid, colour: str) -> None:
    """Outline a mask (Y, X) of an axial slice; only its own part is looked at, which is several times as fast."""
    rows, columns = tight_slices(mask)
    x, y, z = grid.ijk_to_lps((columns.start, rows.start, 0))
    part = mask[rows, columns]
    outline(axes, part, Grid((1, *part.shape), grid.spacing_xyz, (x, y, z)), _AXIAL, colour, "-")
