"""Pictures of measured lesions: the slice of the longest diameter, both axes drawn, the volume beside them.

``masks`` draws what ``medlsam lesion propagate`` has segmented: three planes, and the mark of the person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.export.figures import Picture
from medlsam.export.lesions.window import lesion_window
from medlsam.export.planes import BOX, INK, PAPER, PLANES, legend_below, letters, outline, scale_bar, show
from medlsam.geometry import Grid
from medlsam.lesion.recist.lesion import TYPE_NAMES, Kind, Lesion
from medlsam.lesion.recist.track import FollowUp, Sighting, Track
from medlsam.measure.lesions import Line
from medlsam.volume import Image, LabelMap, resample, to_canonical

#: The colours of the HCUCH paper's figure 6: the major axis orange, the minor axis magenta.
LONGEST, PERPENDICULAR = "#ff8c1a", "#ff4df0"
#: Of the outline: far from both on any screen, and no tint, since a reader looks at what is inside.
OUTLINE = BOX
#: Half of a picture's side is at least this, mm.
LEAST_HALF_MM = 35.0
#: More lesions make a picture that nobody can read.
MOST_LESIONS, MOST_NEW = 12, 5
_TILE = 2.6


class LesionScene:
    """A visit's scan and lesion mask, upright and on one grid, ready to be drawn.

    Args:
        scan: HU.
        labels: the lesions.
    """

    def __init__(self, scan: Image, labels: LabelMap) -> None:
        upright = to_canonical(scan)
        self.grid: Grid = upright.grid
        self.hu: NDArray[Any] = upright.array
        self.labels: NDArray[Any] = resample(labels, upright.grid).array

    def draw(self, axes: Axes, lesion: Lesion, half_mm: float) -> None:
        """Draw one lesion's slice around its middle."""
        axial = PLANES[0]
        own = lesion.measured
        ends = np.asarray([*own.longest_line, *own.perpendicular_line])
        at = int(np.clip(np.rint(self.grid.lps_to_ijk(ends[:2].mean(axis=0))[2]), 0, len(self.hu) - 1))
        middle = (ends.min(axis=0) + ends.max(axis=0)) / 2
        mask = self._mask(lesion, at)
        x_mm, y_mm, _ = self.grid.spacing_xyz
        show(
            axes, self.hu[at], self.grid, axial,
            lesion_window(lesion.kind.site, lesion.node, self.hu[at], mask, (y_mm, x_mm)),
        )  # fmt: skip
        outline(axes, mask, self.grid, axial, OUTLINE, "-", tinted=False)
        _line(axes, own.perpendicular_line, PERPENDICULAR)
        _line(axes, own.longest_line, LONGEST)
        axes.set_xlim(middle[0] - half_mm, middle[0] + half_mm)
        axes.set_ylim(middle[1] + half_mm, middle[1] - half_mm)
        letters(axes, axial)
        scale_bar(axes)

    def _mask(self, lesion: Lesion, at: int) -> NDArray[np.bool_]:
        """(Y, X) the lesion in a slice, without others of the same value outside of its box."""
        own = lesion.measured
        corners = self.grid.lps_to_ijk([own.box.min, own.box.max])
        first, last = np.rint(corners.min(axis=0)).astype(int), np.rint(corners.max(axis=0)).astype(int)
        columns, rows = (slice(max(a, 0), b + 1) for a, b in zip(first[:2], last[:2], strict=True))
        mask = np.zeros(self.labels[at].shape, bool)
        mask[rows, columns] = self.labels[at][rows, columns] == own.value
        return mask


def draw_diameters(scan: Image, labels: LabelMap, lesions: Sequence[Lesion], title: str = "") -> Picture:
    """The lesions of one scan, the largest first, each in the slice of its longest diameter.

    Args:
        scan: HU.
        labels: the lesions.
        lesions: measured in ``labels``; the ``MOST_LESIONS`` largest are drawn.
        title: above the picture.

    Raises:
        UsageError: there is no lesion.
    """
    if not lesions:
        raise UsageError(f"{labels.path or 'the mask'}: there is no lesion to draw")
    shown = sorted(lesions, key=lambda own: -own.diameter_mm)[:MOST_LESIONS]
    scene = LesionScene(scan, labels)
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure, tiles = _tiles(rows, columns, title)
    for axes, lesion in zip(tiles, shown, strict=False):
        scene.draw(axes, lesion, _half(lesion))
        axes.set_title(_caption(lesion), color=INK, fontsize=8)
    for axes in tiles[len(shown) :]:
        axes.set_axis_off()
    return figure


def draw_follow_up(found: FollowUp, scenes: Sequence[LesionScene | None]) -> Picture:
    """The targets of a patient and the new lesions, a row each, at all visits: axes drawn, diameter and volume beside.

    Without both, the lesions that are at the most visits. All pictures of a row have one scale.

    Args:
        found: from ``follow_up``.
        scenes: of the visits, in the same order; None where the files could not be read.

    Raises:
        UsageError: there is no lesion at any visit.
    """
    tracks = sorted((track for track in found.tracks if track.target), key=lambda own: own.alias)
    new = {number for numbers in found.new for number in numbers}
    tracks += [track for track in found.tracks if track.id in new][:MOST_NEW]
    if not tracks:
        tracks = sorted(found.tracks, key=lambda own: -sum(bool(s.lesions) for s in own.sightings))[:5]
    if not tracks:
        raise UsageError("there is no lesion at any visit to draw")
    figure, tiles = _tiles(len(tracks), len(found.visits), _story(found))
    for row, track in enumerate(tracks):
        half = max(_half(lesion) for sighting in track.sightings for lesion in sighting.lesions)
        for column, (sighting, scene) in enumerate(zip(track.sightings, scenes, strict=True)):
            axes = tiles[row * len(found.visits) + column]
            axes.set_title(_told(found.visits[column], sighting, track), color=INK, fontsize=8)
            if not sighting.lesions or scene is None:
                axes.set_axis_off()
                continue
            scene.draw(axes, max(sighting.lesions, key=lambda own: own.measured.voxels), half)
    return figure


def _half(lesion: Lesion) -> float:
    return max(LEAST_HALF_MM, 0.9 * lesion.measured.longest_mm)


def _tiles(rows: int, columns: int, title: str) -> tuple[Picture, list[Axes]]:
    lines = title.count("\n") + 1 if title else 0
    head, foot, gap = 0.45 + 0.16 * lines, 0.35, 0.4
    width, height = columns * _TILE + 0.1 * (columns + 1), rows * (_TILE + gap) + head + foot - gap
    figure = Picture(figsize=(max(width, 4.2), height), facecolor=PAPER)
    left = (max(width, 4.2) - width) / 2
    tiles = [
        figure.add_axes(
            (
                (left + 0.1 + column * (_TILE + 0.1)) / max(width, 4.2),
                (foot + (rows - 1 - row) * (_TILE + gap)) / height,
                _TILE / max(width, 4.2),
                _TILE / height,
            )
        )
        for row in range(rows)
        for column in range(columns)
    ]
    if title:
        figure.suptitle(title, color=INK, fontsize=9, y=1 - 0.06 / height, va="top")
    colours = {"longest": LONGEST, "short axis": PERPENDICULAR, "lesion": OUTLINE}
    legend_below(figure, [Line2D([], [], color=colour, label=name) for name, colour in colours.items()])
    return figure, tiles


def _line(axes: Axes, line: Line, colour: str) -> None:
    (x0, y0, _), (x1, y1, _) = line
    axes.plot([x0, x1], [y0, y1], color=colour, linewidth=1.6, solid_capstyle="butt")


def _kind(kind: Kind) -> str:
    """In words: ``metastasis, kidney left``."""
    type_ = TYPE_NAMES[kind.type] if kind.type or not kind.site else ""
    return ", ".join(part for part in (type_, kind.site.replace("_", " ")) if part)


def _caption(lesion: Lesion) -> str:
    own = lesion.measured
    sizes = f"{own.longest_mm:.1f} × {own.perpendicular_mm:.1f} mm   {own.volume_ml:.2f} ml"
    return f"{lesion.id}   {_kind(lesion.kind)}\n{sizes}   {_slice(lesion)}"


def _slice(lesion: Lesion) -> str:
    # A DICOM instance number is what a viewer shows; an index is only ours.
    return f"{'image' if lesion.measured.slice_numbers == 'instance' else 'slice'} {lesion.measured.slice}"


def _told(visit: str, sighting: Sighting, track: Track) -> str:
    name = f"{track.alias or f'{track.role} {track.id}'}   {_kind(track.kind)}   {visit}"
    if not sighting.lesions:
        return f"{name}\n{sighting.state.replace('_', ' ')}"
    axis = "short axis" if track.kind.node else "longest"
    largest = max(sighting.lesions, key=lambda own: own.measured.voxels)
    parts = f" in {len(sighting.lesions)} parts" if len(sighting.lesions) > 1 else ""
    sizes = f"{axis} {sighting.diameter_mm:.1f} mm{parts}   {sighting.volume_ml:.2f} ml"
    return f"{name}\n{sizes}   {_slice(largest)}"


def _story(found: FollowUp) -> str:
    without = "not evaluable" if any(track.target for track in found.tracks) else "no targets"
    sums = [without if mm is None else f"{mm:.1f} mm" for mm in found.sums_mm]
    responses = ["baseline", *(str(own.overall) for own in found.assessments)]
    each = zip(found.visits, sums, responses, strict=True)
    # One line a visit: side by side they would run out of a picture of two columns.
    return "sum of diameters\n" + "\n".join(f"{visit}: {mm}, {response}" for visit, mm, response in each)
