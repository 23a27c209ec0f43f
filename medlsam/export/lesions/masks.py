"""A picture of segmented lesions: a row of three planes each, with the mark that the person drew.

``lesions`` draws what was measured: the axes in the slice of the longest diameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from medlsam.export.figures import Picture
from medlsam.export.lesions.window import lesion_window
from medlsam.export.planes import (
    BOX,
    INK,
    MASK,
    PAPER,
    PLANES,
    legend_below,
    letters,
    outline,
    rectangle,
    row_axes,
    scale_bar,
    show,
)
from medlsam.geometry import mask_box
from medlsam.lesion.propagate.run import LesionMask
from medlsam.volume import Image, LabelMap, to_canonical

#: More rows make a picture that nobody scrolls through.
MOST = 30
# Around a lesion so much more is shown that its place is recognised, mm.
_AROUND_MM = 30.0


def draw_lesions(
    image: Image,
    lesions: Sequence[LesionMask],
    window: tuple[float, float] | None = None,
) -> Picture:
    """Draw axial, coronal and sagittal slices through each lesion; the axial one is its key slice.

    Args:
        image: the scan, HU.
        lesions: at least one, on the scan's grid; of more than ``MOST`` the first. Each is drawn whole, also where
            another has its voxels in the label map.
        window: lowest and highest HU; by default the lung's for lesions in lungs, soft tissue for the rest.
    """
    shown = list(lesions)[:MOST]
    volume = to_canonical(image)
    grid = volume.grid
    figure = Picture(figsize=(9.6, 3.45 * len(shown) + 0.3), facecolor=PAPER)
    for row, lesion in enumerate(shown):
        mask = to_canonical(LabelMap(lesion.mask.astype(np.uint8), image.grid)).array > 0
        axes = row_axes(figure, row, len(shown))
        box = mask_box(mask, grid)
        key = min(max(lesion.key_index, 0), len(mask) - 1)
        centre = np.asarray(box.center)
        if mask[key].any():
            _, y, x = np.argwhere(mask[key : key + 1]).mean(axis=0)
            centre = grid.ijk_to_lps((x, y, key))
        half = max(box.size) / 2 + _AROUND_MM
        # What lies beside a lung may be a node of the mediastinum: then what is around it decides.
        organ = lesion.organ
        site = (organ.organ or "") if organ is not None and organ.relation == "inside" else ""
        x_mm, y_mm, _ = grid.spacing_xyz
        shown_hu = window or lesion_window(site, False, volume.array[key], mask[key], (y_mm, x_mm))
        for ax, plane in zip(axes, PLANES, strict=True):
            size = mask.shape[2 - plane.cut]
            at = int(np.clip(np.rint(grid.lps_to_ijk(centre)[plane.cut]), 0, size - 1))
            show(ax, np.take(volume.array, at, axis=2 - plane.cut), grid, plane, shown_hu)
            outline(ax, np.take(mask, at, axis=2 - plane.cut), grid, plane, MASK, "-")
            if plane.cut == 2:
                _draw_mark(ax, lesion)
            middle = np.asarray(box.center)
            ax.set_xlim(middle[plane.across] - half, middle[plane.across] + half)
            vertical = (middle[plane.up] - half, middle[plane.up] + half)
            ax.set_ylim(vertical if plane.upwards else vertical[::-1])
            letters(ax, plane)
            scale_bar(ax)
        axes[1].set_title(_title(lesion), color=INK, fontsize=10)
    handles = [Line2D([], [], color=MASK, label="lesion"), Line2D([], [], color=BOX, label="as marked")]
    legend_below(figure, handles)
    return figure


def _draw_mark(ax: Axes, lesion: LesionMask) -> None:
    """Draw what the person marked on the key slice."""
    mark = lesion.prompt
    if mark.box is not None:
        ax.add_patch(rectangle(mark.box, 0, 1, BOX, dashed=False))
    for line in (mark.long, mark.short):
        if line is not None:
            ax.plot([line[0][0], line[1][0]], [line[0][1], line[1][1]], color=BOX, linewidth=1.4)
    if mark.point is not None:
        ax.plot(mark.point[0], mark.point[1], marker="+", color=BOX, markersize=9)


def _title(lesion: LesionMask) -> str:
    organ = f", {lesion.organ.organ}" if lesion.organ is not None and lesion.organ.organ else ""
    return f"{lesion.prompt.name}{organ}: {lesion.volume_ml:.1f} ml, {lesion.longest_mm:.0f} mm"
