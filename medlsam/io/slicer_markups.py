"""Extreme points and boxes drawn by hand: 3D Slicer markups (``.mrk.json``, and points in the older ``.fcsv``).

Slicer saves each node in a file of its own and leaves the node's name out: the file has it. A file that was written
for Slicer may hold several nodes with their names. Points that are hidden or locked were placed all the same: they
count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES, Box, ExtremePoints, Vector
from medlsam.io.markups.nodes import (
    BROKEN,
    NOT_IN_SCAN,
    ControlPoint,
    file_stem,
    read_content,
    read_nodes,
    stem,
)
from medlsam.results import Localization


@dataclass(frozen=True)
class Mark:
    """A mark that somebody drew in Slicer.

    Attributes:
        name: of the markups node; of the file, or of the point, where the node has none.
        kind: ``ROI``, ``Line`` or ``Fiducial`` (a point).
        points: LPS mm: two of a line, one of a point, none of an ROI.
        box: of an ROI, LPS mm.
    """

    name: str
    kind: str
    points: tuple[Vector, ...] = ()
    box: Box | None = None


def read_markups(
    path: Path | str, *, on_unfinished: Callable[[str], None] | None = None
) -> dict[str, ExtremePoints]:
    """Six extreme points per structure from a 3D Slicer markups file.

    A markups node belongs to the structure of its ``name``; without one, the points are grouped by their labels
    without the number or the face at the end (``Mandible-1``, ``Mandible x-``). The six points may come in any order;
    RAS becomes LPS, other units of length become mm. An ROI stands for the centres of its six faces.

    Args:
        path: a ``.mrk.json`` or ``.fcsv`` file.
        on_unfinished: called with words for each structure of which fewer than six points are placed yet, which is then
            left out, and where the file holds no point at all; None makes that an error.

    Returns:
        Structure to its extreme points, LPS mm.

    Raises:
        TemplateError: naming the structure and what is wrong with its points, or the points that are not placed.
    """
    path = Path(path)
    placed: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    points: dict[str, list[ControlPoint]] = defaultdict(list)
    answered = False
    for node in read_nodes(path, TemplateError):
        answered |= node.description == NOT_IN_SCAN and not node.points
        if node.box is not None:
            placed[node.name or stem(node.label) or stem(file_stem(path))] += list(_face_centres(node.box))
            continue
        for point in node.points:
            structure = node.name or stem(point.label)
            points[structure].append(point)
            if point.position is not None:
                placed[structure].append(point.position)
    if not placed and not points and not (answered and on_unfinished):
        words = f"{path}: no points in this file; place six extreme points per structure"
        if on_unfinished is None:
            raise TemplateError(words)
        on_unfinished(words)
    found = {}
    for structure in dict.fromkeys([*points, *placed]):
        own = placed[structure]
        if on_unfinished is not None and len(own) < 6:
            on_unfinished(_not_six(structure, len(own), points[structure], path))
        else:
            found[structure] = _extreme(structure, own, points[structure], path)
    return found


def read_boxes(
    path: Path | str, structures: Collection[str] = (), *, required: bool = True
) -> dict[str, Box]:
    """Boxes of structures, from the ROI nodes of a markups file or from a ``localization.json``.

    A rotated ROI becomes the box along the LPS axes around it, with a warning.

    Args:
        path: ``boxes.mrk.json``, an ROI that Slicer saved, or ``localization.json``: of that the located boxes of the
            structures that were found or are uncertain.
        structures: the names that are known: a node without a name is called as its file, or as the label of its point
            where only that is among them.
        required: whether a file without a box is an error.

    Returns:
        Structure to its box, LPS mm.

    Raises:
        UsageError: the file cannot be read, holds no box, or two of one structure.
        GeometryError: a box that is not finite.
    """
    path = Path(path)
    content = read_content(path, UsageError)
    if isinstance(content, Mapping) and "organs" in content:
        try:
            located = Localization.from_dict(content).structures
        except BROKEN as error:
            raise UsageError(f"{path}: not a localization.json ({type(error).__name__}: {error})") from error
        return {name: s.located_box for name, s in located.items() if s.present and s.located_box is not None}
    boxes: dict[str, Box] = {}
    for node in read_nodes(path, UsageError):
        if node.box is None:
            continue
        called = [name for name in (file_stem(path), node.label, stem(node.label)) if name in structures]
        name = node.name or (called or [file_stem(path)])[0]
        if name in boxes:
            raise UsageError(f"{path}: holds two boxes of {name}; keep one")
        boxes[name] = node.box
    if required and not boxes:
        raise UsageError(
            f"{path}: holds no box; draw an ROI for each structure and give it the structure's name"
        )
    return boxes


def read_marks(path: Path | str) -> list[Mark]:
    """ROIs, lines and points of a markups file, in the file's order; points that are not placed are left out.

    Raises:
        UsageError: the file cannot be read, or holds a line without two points.
    """
    path = Path(path)
    marks: list[Mark] = []
    for node in read_nodes(path, UsageError, ("ROI", "Line", "Fiducial")):
        placed = [(p.label, _as_vector(p.position)) for p in node.points if p.position is not None]
        if node.kind == "Fiducial":
            marks += [
                Mark(label or node.name or file_stem(path), node.kind, (place,)) for label, place in placed
            ]
            continue
        name = node.name or file_stem(path)
        if node.kind == "Line" and len(placed) != 2:
            raise UsageError(f"{path}: the line {name} has {len(placed)} placed points; it needs two")
        points = tuple(place for _, place in placed) if node.kind == "Line" else ()
        marks.append(Mark(name, node.kind, points, node.box))
    return marks


def _as_vector(position: NDArray[np.float64]) -> Vector:
    x, y, z = position.tolist()
    return (x, y, z)


def _face_centres(box: Box) -> NDArray[np.float64]:
    points = np.tile(np.asarray(box.center), (6, 1))
    points[np.arange(6), np.arange(6) // 2] = box.faces
    return points


def _not_six(structure: str, placed: int, points: list[ControlPoint], path: Path) -> str:
    absent = [f"{point.label or 'a point'} ({point.status})" for point in points if point.position is None]
    ends = {point.label[-2:] for point in points}
    missing = [face for face in FACES if face not in ends] if ends < set(FACES) else []
    return (
        f"{path}: {structure} has {placed} points; six are needed "
        "(left, right, front, back, top and bottom)"
        + (f"; not placed: {', '.join(absent)}" if absent else "")
        + (f"; not there: {', '.join(missing)}" if missing else "")
    )


def _extreme(
    structure: str, placed: list[NDArray[np.float64]], points: list[ControlPoint], path: Path
) -> ExtremePoints:
    if len(placed) != 6:
        raise TemplateError(_not_six(structure, len(placed), points, path))
    array = np.stack(placed)
    if not np.isfinite(array).all() or not np.ptp(array, axis=0).min() > 0:
        raise TemplateError(
            f"{path}: the six points of {structure} lie in one plane or are not numbers; place them anew"
        )
    return ExtremePoints.from_unordered(array)
