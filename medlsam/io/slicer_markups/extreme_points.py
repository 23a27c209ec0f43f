"""Six extreme points per structure, drawn by hand in 3D Slicer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import TemplateError
from medlsam.geometry import FACES, Box, ExtremePoints
from medlsam.io.slicer_markups.nodes import NOT_IN_SCAN, Point, file_stem, read_nodes, stem


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
    points: dict[str, list[Point]] = defaultdict(list)
    answered = False
    for node in read_nodes(path, TemplateError):
        answered |= node.description == NOT_IN_SCAN and not node.points
        if node.box is not None:
            placed[node.name or stem(node.label) or stem(file_stem(path))] += list(face_centres(node.box))
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


def face_centres(box: Box) -> NDArray[np.float64]:
    """(6, 3) LPS mm: the centres of a box's faces, in the order of ``FACES``."""
    points = np.tile(np.asarray(box.center), (6, 1))
    points[np.arange(6), np.arange(6) // 2] = box.faces
    return points


def _not_six(structure: str, placed: int, points: list[Point], path: Path) -> str:
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
    structure: str, placed: list[NDArray[np.float64]], points: list[Point], path: Path
) -> ExtremePoints:
    if len(placed) != 6:
        raise TemplateError(_not_six(structure, len(placed), points, path))
    array = np.stack(placed)
    if not np.isfinite(array).all() or not np.ptp(array, axis=0).min() > 0:
        raise TemplateError(
            f"{path}: the six points of {structure} lie in one plane or are not numbers; place them anew"
        )
    return ExtremePoints.from_unordered(array)
