"""Pictures of what was found: three planes through a structure, and boxes on a projection of the scan.

Every picture uses the radiological convention: the patient's right is on the left of the picture in axial
and coronal views, the front is on the left in sagittal views. Axes are LPS millimetres, so the proportions
are right whatever the spacing. Nothing here goes through pyplot: no global state, no window, no display.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.export.planes import (
    BOX,
    CYCLE,
    INK,
    MASK,
    PAPER,
    PLANES,
    REFERENCE,
    SOFT_TISSUE,
    legend_below,
    letters,
    outline,
    rectangle,
    row_axes,
    scale_bar,
    show,
)
from medlsam.geometry import Box, Grid, mask_box
from medlsam.results import Localization, LocatedStructure, Segmentation
from medlsam.volume import Image, LabelMap, resample, to_canonical


@dataclass(frozen=True, eq=False)
class Scene:
    """A scan and its label maps, ready to draw: on one grid with identity direction.

    Attributes:
        image: scan (Z, Y, X), HU.
        labels: label map on the same grid, or None.
        reference: label map to compare with, on the same grid, or None.
        names: label value to structure.
    """

    image: Image
    labels: NDArray[Any] | None = None
    reference: NDArray[Any] | None = None
    names: Mapping[int, str] | None = None

    def mask(self, name: str, of: NDArray[Any] | None) -> NDArray[np.bool_] | None:
        """(Z, Y, X) mask of a structure, or None where there is none of it."""
        values = [value for value, known in (self.names or {}).items() if known == name]
        if of is None or not values:
            return None
        found: NDArray[np.bool_] = np.isin(of, values)
        return found if found.any() else None


def scene(
    image: Image,
    labels: LabelMap | None = None,
    names: Mapping[int, str] | None = None,
    reference: LabelMap | None = None,
) -> Scene:
    """Bring a scan and its label maps (any axis order, any obliquity) onto one axis-aligned grid.

    Args:
        image: the scan, HU.
        labels: label map in its own geometry; what lies outside of the scan is dropped.
        names: label value to structure, for both label maps.
        reference: label map to draw beside ``labels``.
    """
    canonical = to_canonical(image)

    def onto(volume: LabelMap | None) -> NDArray[Any] | None:
        return None if volume is None else resample(volume, canonical.grid).array

    return Scene(canonical, onto(labels), onto(reference), names)


class Picture(Figure):
    """A matplotlib figure that shows itself as the last line of a notebook cell."""

    def _repr_png_(self) -> bytes:
        return png(self)


def draw_structure(
    scene: Scene,
    structure: str | LocatedStructure,
    title: str | None = None,
    window: tuple[float, float] = SOFT_TISSUE,
) -> Picture:
    """Axial, coronal and sagittal slices through a structure's centre, with its mask and box.

    Args:
        scene: from ``scene``.
        structure: the located structure, or its name alone (then no box is drawn).
        title: above the picture; the name, status and confidence by default.
        window: lower and upper HU.

    Raises:
        UsageError: the structure has neither a mask nor a box, so there is nothing to draw.
    """
    figure = Picture(figsize=(9.6, 3.75), facecolor=PAPER)
    _draw_row(row_axes(figure, 0, 1), scene, structure, window)
    figure.suptitle(title or _title(structure), color=INK, fontsize=11, y=0.985)
    _legend(figure, reference=scene.reference is not None)
    return figure


def draw_segmentation(
    segmentation: Segmentation,
    image: Image | None = None,
    organs: Sequence[str] | None = None,
    reference: LabelMap | None = None,
    window: tuple[float, float] = SOFT_TISSUE,
) -> Picture:
    """One row of three planes for each structure of a segmentation.

    Args:
        segmentation: from ``MedLSAM.segment``.
        image: the scan; the segmentation's own by default.
        organs: which structures; all that have a mask or a box by default.
        reference: label map with the same values, drawn in dashes.
        window: lower and upper HU.

    Raises:
        UsageError: the segmentation keeps no scan and none was given, or there is nothing to draw.
    """
    volume = image if image is not None else segmentation.image
    if volume is None:
        raise UsageError(f"{segmentation.case}: the segmentation keeps no scan; give the scan as `image`")
    drawn = scene(volume, segmentation.labels, segmentation.names, reference)
    located = segmentation.localization.structures
    chosen = [
        located.get(name, name)
        for name in (organs if organs is not None else segmentation.names.values())
        if _has_something(drawn, located.get(name, name))
    ]
    if not chosen:
        raise UsageError(f"{segmentation.case}: no structure has a mask or a box to draw")
    figure = Picture(figsize=(9.6, 3.45 * len(chosen) + 0.3), facecolor=PAPER)
    for row, structure in enumerate(chosen):
        axes = row_axes(figure, row, len(chosen))
        _draw_row(axes, drawn, structure, window)
        axes[1].set_title(_title(structure), color=INK, fontsize=10)
    _legend(figure, reference=reference is not None)
    return figure


def draw_localization(localization: Localization, image: Image | None = None) -> Picture:
    """The located boxes on a frontal and a lateral projection of the scan.

    The projections are sums along the rays, as in a radiograph: a box is drawn whole, at its true place and
    size in the plane.

    Args:
        localization: from ``MedLSAM.localize``.
        image: the scan, HU; the localization's own by default.

    Raises:
        UsageError: the localization keeps no scan and none was given.
    """
    image = image if image is not None else localization.image
    if image is None:
        raise UsageError(f"{localization.case}: the localization keeps no scan; give the scan as `image`")
    canonical = to_canonical(image)
    grid = canonical.grid
    width, depth, height = grid.box.size
    shown = [structure for structure in localization.structures.values() if structure.present]
    # Two pictures at one scale, and the names beside them; neither too tall nor too wide for a page.
    scale = min(5.2 / height, 7.0 / (width + depth))
    lines = min(24, max(8, len(shown)))
    columns = max(1, math.ceil(len(shown) / lines))
    tall = max(height * scale, 0.19 * lines + 0.6)
    inches = [width * scale, depth * scale, 2.2 * columns]
    figure = Picture(figsize=(sum(inches) + 0.5, tall + 0.7), facecolor=PAPER)
    places = figure.add_gridspec(
        1,
        3,
        width_ratios=inches,
        left=0.01,
        right=0.99,
        bottom=0.02,
        top=1 - 0.65 / (tall + 0.7),
        wspace=0.03,
    )
    density = np.clip(canonical.array.astype(np.float32) + 1000.0, 0.0, 2500.0)
    for place, plane in enumerate(PLANES[1:]):
        across, up, cut = plane.across, plane.up, plane.cut
        axes = figure.add_subplot(places[place])
        rays = density.sum(axis=2 - cut)
        low, high = np.percentile(rays, (2.0, 99.7))
        show(axes, rays, grid, plane, (float(low), float(high) + 1e-3))
        for number, structure in enumerate(shown):
            box = _box(structure)
            assert box is not None
            colour = CYCLE[number % len(CYCLE)]
            axes.add_patch(rectangle(box, across, up, colour, structure.status == "uncertain"))
        axes.set_title("frontal" if across == 0 else "lateral", color=INK, fontsize=10)
        letters(axes, plane)
        scale_bar(axes)
    handles = [
        Line2D(
            [], [], color=CYCLE[number % len(CYCLE)], linestyle="--" if structure.status == "uncertain" else "-",
            label=f"{structure.name} ({structure.confidence:.2f})",
        )
        for number, structure in enumerate(shown)
    ]  # fmt: skip
    beside = figure.add_subplot(places[2])
    beside.set_axis_off()
    if handles:
        beside.legend(
            handles=handles, loc="upper left", ncols=columns, fontsize=8, labelcolor=INK, frameon=False,
            borderaxespad=0, title="structure (confidence)", title_fontproperties={"size": 8},
        ).get_title().set_color(INK)  # fmt: skip
    absent = [structure.name for structure in localization.structures.values() if not structure.present]
    if absent:
        text = "not found:\n" + textwrap.fill(", ".join(absent), 28 * columns)
        beside.text(0.0, 0.0, text, color=INK, fontsize=8, va="bottom", transform=beside.transAxes)
    figure.suptitle(localization.case, color=INK, fontsize=11, y=0.985)
    return figure


def png(figure: Figure, dpi: float = 100.0) -> bytes:
    """The picture as a PNG file."""
    if not isinstance(figure.canvas, FigureCanvasAgg):
        FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def data_uri(figure: Figure, dpi: float = 100.0) -> str:
    """The picture as the ``src`` of an image in a page that loads nothing."""
    return f"data:image/png;base64,{base64.b64encode(png(figure, dpi)).decode('ascii')}"


def _title(structure: str | LocatedStructure) -> str:
    if isinstance(structure, str):
        return structure
    return f"{structure.name}   {structure.status.replace('_', ' ')}, confidence {structure.confidence:.2f}"


def _box(structure: str | LocatedStructure) -> Box | None:
    return structure.located_box if isinstance(structure, LocatedStructure) and structure.present else None


def _name(structure: str | LocatedStructure) -> str:
    return structure if isinstance(structure, str) else structure.name


def _has_something(scene: Scene, structure: str | LocatedStructure) -> bool:
    masks = (scene.mask(_name(structure), scene.labels), scene.mask(_name(structure), scene.reference))
    return _box(structure) is not None or any(mask is not None for mask in masks)


def _draw_row(
    axes: Sequence[Axes], scene: Scene, structure: str | LocatedStructure, window: tuple[float, float]
) -> None:
    """Draw one structure in three axes."""
    grid, box, name = scene.image.grid, _box(structure), _name(structure)
    mask, reference = scene.mask(name, scene.labels), scene.mask(name, scene.reference)
    extent = [mask_box(m, grid) for m in (mask, reference) if m is not None] + ([box] if box else [])
    if not extent:
        raise UsageError(f"{name}: neither a mask nor a box, so there is nothing to draw")
    centre = _centre(mask if mask is not None else reference, box, grid)
    low, high = np.min([b.min for b in extent], axis=0), np.max([b.max for b in extent], axis=0)
    for ax, plane in zip(axes, PLANES, strict=True):
        across, up, cut = plane.across, plane.up, plane.cut
        size = scene.image.array.shape[2 - cut]
        at = int(np.clip(np.rint(grid.lps_to_ijk(centre)[cut]), 0, size - 1))
        show(ax, np.take(scene.image.array, at, axis=2 - cut), grid, plane, window)
        for found, colour, style in ((reference, REFERENCE, "--"), (mask, MASK, "-")):
            if found is not None:
                outline(ax, np.take(found, at, axis=2 - cut), grid, plane, colour, style)
        if box is not None and box.min[cut] <= centre[cut] <= box.max[cut]:
            ax.add_patch(rectangle(box, across, up, BOX, dashed=True))
        # A square, with enough around a small structure for it to be recognised.
        longest = max(high[across] - low[across], high[up] - low[up])
        half = longest / 2 + max(30.0, 0.25 * longest)
        middle = (low + high) / 2
        ax.set_xlim(middle[across] - half, middle[across] + half)
        vertical = (middle[up] - half, middle[up] + half)
        ax.set_ylim(vertical if plane.upwards else vertical[::-1])
        letters(ax, plane)
        scale_bar(ax)


def _centre(mask: NDArray[np.bool_] | None, box: Box | None, grid: Grid) -> NDArray[np.float64]:
    """LPS mm: the mask's voxel that lies nearest to its centroid, so a curved structure is really cut."""
    if mask is None:
        assert box is not None
        return np.asarray(box.center)
    points = grid.ijk_to_lps(np.argwhere(mask)[:, ::-1])
    return np.asarray(points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))])


def _legend(figure: Figure, reference: bool) -> None:
    handles = [
        Line2D([], [], color=MASK, label="segmentation"),
        Line2D([], [], color=BOX, linestyle="--", label="located box"),
    ]
    if reference:
        handles.append(Line2D([], [], color=REFERENCE, linestyle="--", label="reference"))
    legend_below(figure, handles)
