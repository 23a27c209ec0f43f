"""One plane of a scan in one matplotlib axes, in LPS millimetres: picture, outlines, sides and scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from medlsam.export.views import (
    BOX,
    CONVENTION,
    CYCLE,
    INK,
    MASK,
    PAPER,
    PLANES,
    REFERENCE,
    SOFT_TISSUE,
    Plane,
)
from medlsam.geometry import Box, Grid

__all__ = [
    "BOX", "CONVENTION", "CYCLE", "INK", "MASK", "PAPER", "PLANES", "REFERENCE", "SOFT_TISSUE", "Plane", "legend_below",
    "letters",
    "outline", "rectangle", "row_axes", "scale_bar", "show",
]  # fmt: skip

# A dark rim keeps letters readable on bone, and the scale bar, whose line is as wide as that of letters.
_HALO = [withStroke(linewidth=2, foreground=PAPER)]
_BAR_HALO = [withStroke(linewidth=4, foreground=PAPER)]


def row_axes(figure: Figure, row: int, rows: int) -> list[Axes]:
    """Three square places side by side; computed, since automatic layouts take longer than the drawing."""
    width, height = figure.get_size_inches()
    gap, foot, head = 0.1, 0.3, 0.35
    side = (width - 4 * gap) / 3
    step = (height - foot) / rows
    bottom = foot + step * (rows - row) - head - side
    return [
        figure.add_axes(((gap + i * (side + gap)) / width, bottom / height, side / width, side / height))
        for i in range(3)
    ]


def show(
    axes: Axes,
    picture: NDArray[Any],
    grid: Grid,
    plane: Plane,
    window: tuple[float, float],
) -> None:
    """Show one plane: (rows, columns) in index order, axes in LPS mm."""
    across, up, upwards = plane.across, plane.up, plane.upwards
    low, high = np.asarray(grid.box.min), np.asarray(grid.box.max)
    # Row 0 holds the lowest coordinate; `extent` says where that row goes, set_ylim which way is up.
    axes.imshow(
        picture, cmap="gray", vmin=window[0], vmax=window[1], origin="lower", interpolation="bilinear",
        extent=(low[across], high[across], low[up], high[up]), aspect="equal",
    )  # fmt: skip
    if not upwards:
        axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("black")
    for spine in axes.spines.values():
        spine.set_color("#3a444e")


def outline(
    axes: Axes,
    mask: NDArray[np.bool_],
    grid: Grid,
    plane: Plane,
    colour: str,
    style: str,
    tinted: bool = True,
) -> None:
    """Outline a (rows, columns) mask; padded, so that it closes at the border of the scan.

    Solid outlines are filled with a tint, unless ``tinted`` is False.
    """
    if not mask.any():
        return
    across, up = plane.across, plane.up
    origin, spacing = np.asarray(grid.origin_xyz), np.asarray(grid.spacing_xyz)
    padded = np.pad(mask.astype(np.float32), 1)
    horizontal = origin[across] + spacing[across] * (np.arange(padded.shape[1]) - 1)
    vertical = origin[up] + spacing[up] * (np.arange(padded.shape[0]) - 1)
    if style == "-" and tinted:
        axes.contourf(horizontal, vertical, padded, levels=[0.5, 1.5], colors=[colour], alpha=0.22)
    axes.contour(
        horizontal, vertical, padded, levels=[0.5], colors=[colour], linewidths=1.6, linestyles=[style]
    )


def rectangle(box: Box, across: int, up: int, colour: str, dashed: bool) -> Rectangle:
    """A box seen along the third axis."""
    size = box.size
    return Rectangle(
        (box.min[across], box.min[up]), size[across], size[up], fill=False, edgecolor=colour, linewidth=1.4,
        linestyle="--" if dashed else "-",
    )  # fmt: skip


def letters(axes: Axes, plane: Plane) -> None:
    """Write the patient's sides at the edges: left, right, top and bottom of the picture."""
    for letter, (x, y) in zip(plane.sides, ((0.03, 0.5), (0.97, 0.5), (0.5, 0.96), (0.5, 0.04)), strict=True):
        axes.text(
            x, y, letter, transform=axes.transAxes, color=INK, fontsize=8, ha="center", va="center",
            path_effects=_HALO,
        )  # fmt: skip


def legend_below(figure: Figure, handles: Sequence[Artist]) -> None:
    """Say in one line at the lower edge what the colours mean.

    Args:
        figure: the picture.
        handles: one for each colour, with its label.
    """
    figure.legend(
        handles=list(handles),
        loc="lower center",
        ncols=len(handles),
        fontsize=8,
        labelcolor=INK,
        frameon=False,
        borderaxespad=0.2,
    )


def scale_bar(axes: Axes) -> None:
    """A bar of a round length at the lower right."""
    (x0, x1), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    # It ends before the letter in the middle of the edge.
    length = next((mm for mm in (100, 50, 20, 10) if mm < 0.4 * abs(x1 - x0)), 5)
    x, y = x1 - 0.05 * (x1 - x0), bottom + 0.06 * (top - bottom)
    axes.plot([x - length, x], [y, y], color=INK, linewidth=2, solid_capstyle="butt", path_effects=_BAR_HALO)
    axes.text(
        x - length / 2, y + 0.02 * (top - bottom), f"{length} mm", color=INK, fontsize=7, ha="center",
        path_effects=_HALO,
    )  # fmt: skip
