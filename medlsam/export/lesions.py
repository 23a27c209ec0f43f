"""Pictures of lesions: the axial slice of the longest diameter, with both axes drawn, the volume beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medlsam.errors import UsageError
from medlsam.export.figures import Picture
from medlsam.export.planes import INK, MASK, PAPER, PLANES, SOFT_TISSUE, letters, outline, scale_bar, show
from medlsam.geometry import Grid
from medlsam.lesion.recist.follow_up import FollowUp, Sighting, Track
from medlsam.lesion.recist.lesion import Lesion
from medlsam.measure.lesions import Line
from medlsam.volume import Image, LabelMap, resample, to_canonical

#: The colours of the HCUCH paper's figure 6: the major axis orange, the minor axis magenta.
LONGEST, PERPENDICULAR = "#ff8c1a", "#ff4df0"
LUNG = (-1200.0, 200.0)
#: A picture in which most is darker than this is of the lung.
_MOSTLY_AIR_HU = -400.0
#: Half of a picture's side is at least this, mm.
LEAST_HALF_MM = 35.0
#: More lesions make a picture that nobody can read.
MOST_LESIONS = 12
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
        low, high = (np.rint(self.grid.lps_to_ijk(middle + side * half_mm)).astype(int) for side in (-1, 1))
        rows, columns = (slice(max(low[axis], 0), max(high[axis], 1)) for axis in (1, 0))
        near = self.hu[at, rows, columns]
        window = LUNG if near.size and np.median(near) < _MOSTLY_AIR_HU else SOFT_TISSUE
        show(axes, self.hu[at], self.grid, axial, window)
        outline(axes, self.labels[at] == own.value, self.grid, axial, MASK, "-")
        _line(axes, own.perpendicular_line, PERPENDICULAR)
        _line(axes, own.longest_line, LONGEST)
        axes.set_xlim(middle[0] - half_mm, middle[0] + half_mm)
        axes.set_ylim(middle[1] + half_mm, middle[1] - half_mm)
        letters(axes, axial)
        scale_bar(axes)


def draw_lesions(scan: Image, labels: LabelMap, lesions: Sequence[Lesion], title: str = "") -> Picture:
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
        axes.set_title(_caption(str(lesion.id), lesion), color=INK, fontsize=8)
    for axes in tiles[len(shown) :]:
        axes.set_axis_off()
    return figure


def draw_follow_up(found: FollowUp, scenes: Sequence[LesionScene]) -> Picture:
    """The targets of a patient, a row each, at all visits: axes drawn, diameter and volume beside them.

    Without targets, the lesions that are at the most visits. All pictures of a row have one scale.

    Args:
        found: from ``follow_up``.
        scenes: of the visits, in the same order.

    Raises:
        UsageError: there is no lesion at any visit.
    """
    tracks: list[Track] = [track for track in found.tracks if track.target]
    if not tracks:
        tracks = sorted(found.tracks, key=lambda own: -sum(bool(s.lesions) for s in own.sightings))[:5]
    if not tracks:
        raise UsageError("there is no lesion at any visit to draw")
    tracks.sort(key=lambda track: track.alias)
    figure, tiles = _tiles(len(tracks), len(found.visits), _story(found))
    for row, track in enumerate(tracks):
        half = max(_half(lesion) for sighting in track.sightings for lesion in sighting.lesions)
        for column, (sighting, scene) in enumerate(zip(track.sightings, scenes, strict=True)):
            axes = tiles[row * len(found.visits) + column]
            name = track.alias or str(track.id)
            axes.set_title(_told(name, found.visits[column], sighting, track), color=INK, fontsize=8)
            if not sighting.lesions:
                axes.set_axis_off()
                continue
            scene.draw(axes, max(sighting.lesions, key=lambda own: own.measured.voxels), half)
    return figure


def _half(lesion: Lesion) -> float:
    return max(LEAST_HALF_MM, 0.9 * lesion.measured.longest_mm)


def _tiles(rows: int, columns: int, title: str) -> tuple[Picture, list[Axes]]:
    head, foot, gap = (0.75 if title else 0.45), 0.1, 0.4
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
        figure.suptitle(title, color=INK, fontsize=9, y=1 - 0.08 / height, va="top")
    return figure, tiles


def _line(axes: Axes, line: Line, colour: str) -> None:
    (x0, y0, _), (x1, y1, _) = line
    axes.plot([x0, x1], [y0, y1], color=colour, linewidth=1.6, solid_capstyle="butt")


def _caption(name: str, lesion: Lesion) -> str:
    own = lesion.measured
    kind = f"  {lesion.kind}" if str(lesion.kind) else ""
    return f"{name}{kind}   {own.longest_mm:.1f} × {own.perpendicular_mm:.1f} mm   {own.volume_ml:.1f} ml"


def _told(name: str, visit: str, sighting: Sighting, track: Track) -> str:
    if not sighting.lesions:
        return f"{name}   {visit}\n{sighting.state.replace('_', ' ')}"
    axis = "short axis" if track.kind.node else "longest"
    return f"{name}   {visit}\n{axis} {sighting.diameter_mm:.1f} mm   {sighting.volume_ml:.1f} ml"


def _story(found: FollowUp) -> str:
    sums = ["not evaluable" if mm is None else f"{mm:.1f} mm" for mm in found.sums_mm]
    responses = ["baseline", *(str(own.overall) for own in found.assessments)]
    each = zip(found.visits, sums, responses, strict=True)
    return "sum of diameters: " + ",  ".join(f"{visit} {mm} ({response})" for visit, mm, response in each)
