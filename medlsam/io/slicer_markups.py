"""Extreme points and boxes drawn by hand: 3D Slicer markups (``.mrk.json``, and points in the older ``.fcsv``).

Slicer saves each node in a file of its own and leaves the node's name out: the file has it. A file that was written
for Slicer may hold several nodes with their names. Points that are hidden or locked were placed all the same: they
count.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import MedlsamError, TemplateError, UsageError
from medlsam.geometry import FACES, Box, ExtremePoints, Vector
from medlsam.results import Localization

_log = logging.getLogger(__name__)
# Slicer wrote numbers before it wrote names.
_TO_LPS = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}
_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3}
_STATUSES = ("defined", "undefined", "preview")
#: What a broken or foreign file raises while it is taken apart.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


@dataclass(frozen=True)
class _Point:
    """A control point: where it is (LPS mm), or None and why not."""

    label: str
    position: NDArray[np.float64] | None
    status: str = "defined"


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


@dataclass(frozen=True)
class _Node:
    """A markups node: control points, and the box of an ROI."""

    name: str
    points: tuple[_Point, ...]
    box: Box | None = None
    kind: str = "Fiducial"

    @property
    def label(self) -> str:
        return self.points[0].label if self.points else ""


def read_markups(path: Path | str) -> dict[str, ExtremePoints]:
    """Six extreme points per structure from a 3D Slicer markups file.

    A markups node belongs to the structure of its ``name``; without one, the points are grouped by their labels
    without the number or the face at the end (``Mandible-1``, ``Mandible x-``). The six points may come in any order;
    RAS becomes LPS, other units of length become mm. An ROI stands for the centres of its six faces.

    Args:
        path: a ``.mrk.json`` or ``.fcsv`` file.

    Returns:
        Structure to its extreme points, LPS mm.

    Raises:
        TemplateError: naming the structure and what is wrong with its points, or the points that are not placed.
    """
    path = Path(path)
    placed: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    points: dict[str, list[_Point]] = defaultdict(list)
    for node in _nodes(path, TemplateError):
        if node.box is not None:
            placed[node.name or _stem(node.label) or _stem(_file_stem(path))] += list(_face_centres(node.box))
            continue
        for point in node.points:
            structure = node.name or _stem(point.label)
            points[structure].append(point)
            if point.position is not None:
                placed[structure].append(point.position)
    if not placed and not points:
        raise TemplateError(f"{path}: no points in this file; place six extreme points per structure")
    return {
        structure: _extreme(structure, placed[structure], points[structure], path)
        for structure in dict.fromkeys([*points, *placed])
    }


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
    content = _content(path, UsageError)
    if isinstance(content, Mapping) and "organs" in content:
        try:
            located = Localization.from_dict(content).structures
        except _BROKEN as error:
            raise UsageError(f"{path}: not a localization.json ({type(error).__name__}: {error})") from error
        return {name: s.located_box for name, s in located.items() if s.present and s.located_box is not None}
    boxes: dict[str, Box] = {}
    for node in _nodes(path, UsageError):
        if node.box is None:
            continue
        called = [name for name in (_file_stem(path), node.label, _stem(node.label)) if name in structures]
        name = node.name or (called or [_file_stem(path)])[0]
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
    for node in _nodes(path, UsageError, ("ROI", "Line", "Fiducial")):
        placed = [(p.label, _as_vector(p.position)) for p in node.points if p.position is not None]
        if node.kind == "Fiducial":
            marks += [
                Mark(label or node.name or _file_stem(path), node.kind, (place,)) for label, place in placed
            ]
            continue
        name = node.name or _file_stem(path)
        if node.kind == "Line" and len(placed) != 2:
            raise UsageError(f"{path}: the line {name} has {len(placed)} placed points; it needs two")
        points = tuple(place for _, place in placed) if node.kind == "Line" else ()
        marks.append(Mark(name, node.kind, points, node.box))
    return marks


def _as_vector(position: NDArray[np.float64]) -> Vector:
    x, y, z = position.tolist()
    return (x, y, z)


def _nodes(
    path: Path, kind: type[MedlsamError], types: tuple[str, ...] = ("ROI", "Fiducial")
) -> Iterator[_Node]:
    if path.suffix.lower() == ".fcsv":
        yield _fcsv(path, kind)
        return
    try:
        nodes = list(_content(path, kind)["markups"])
    except _BROKEN as error:
        raise _foreign(path, kind, error) from error
    for node in nodes:
        try:
            yield _node(node, path, kind, types)
        except _BROKEN as error:
            raise _foreign(path, kind, error) from error


def _content(path: Path, kind: type[MedlsamError]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except _BROKEN as error:
        raise _foreign(path, kind, error) from error


def _foreign(path: Path, kind: type[MedlsamError], error: Exception) -> MedlsamError:
    return kind(f"{path}: not a 3D Slicer markups file ({type(error).__name__}: {error})")


def _node(node: Mapping[str, Any], path: Path, kind: type[MedlsamError], types: tuple[str, ...]) -> _Node:
    system = str(node.get("coordinateSystem", "LPS"))
    if system not in _TO_LPS:
        raise kind(f"{path}: coordinate system {system!r} is neither LPS nor RAS")
    units = node.get("coordinateUnits", "mm")
    units = str(units if isinstance(units, str) else units[0])
    if units not in _MM:
        raise kind(f"{path}: coordinates in {units!r}; known units of length are {', '.join(_MM)}")
    to_mm = np.asarray(_TO_LPS[system], dtype=float) * _MM[units]
    points = tuple(_point(control, to_mm, path, kind) for control in node.get("controlPoints", []))
    name, type_ = str(node.get("name") or ""), str(node.get("type", "Fiducial"))
    if type_ == "ROI":
        return _Node(name, points, _roi_box(node, name or _file_stem(path), points, to_mm, path, kind), type_)
    if type_ not in types:
        wanted = (
            "draw a Line, an ROI or a point" if "Line" in types else "place six points (Point List) or an ROI"
        )
        raise kind(f"{path}: {name or 'a node'} is a {type_}; {wanted}")
    return _Node(name, points, kind=type_)


def _point(
    control: Mapping[str, Any], to_mm: NDArray[np.float64], path: Path, kind: type[MedlsamError]
) -> _Point:
    label, status = str(control.get("label", "")), str(control.get("positionStatus", "defined"))
    if status not in _STATUSES:
        raise kind(f"{path}: {label or 'a point'} has the status {status!r}, not {', '.join(_STATUSES)}")
    position = control.get("position")
    # Slicer writes an empty text where a point has no place.
    if status != "defined" or position in (None, ""):
        return _Point(label, None, "undefined" if status == "defined" else status)
    return _Point(label, np.asarray(position, dtype=float).reshape(3) * to_mm)


def _roi_box(
    node: Mapping[str, Any],
    name: str,
    points: tuple[_Point, ...],
    to_mm: NDArray[np.float64],
    path: Path,
    kind: type[MedlsamError],
) -> Box:
    size = np.asarray(node["size"], dtype=float).reshape(3) * abs(to_mm)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise kind(f"{path}: the box of {name} has the size {size.tolist()} mm; each edge must be above 0")
    centres = [point.position for point in points[:1] if node.get("roiType", "Box") == "Box"]
    if "center" in node:
        centres.append(np.asarray(node["center"], dtype=float).reshape(3) * to_mm)
    known = [centre for centre in centres if centre is not None]
    if not known or not np.isfinite(known).all():
        raise kind(f"{path}: the box of {name} is not placed: it has no centre; place it anew")
    if np.ptp(known, axis=0).max() > 0.01:
        raise kind(
            f"{path}: the box of {name} has the centre {known[-1].tolist()}, but its control point lies at "
            f"{known[0].tolist()} (LPS mm); make them equal"
        )
    axes = np.asarray(node.get("orientation", np.eye(3)), dtype=float).reshape(3, 3)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise kind(f"{path}: the orientation of the box of {name} is no rotation: {axes.tolist()}")
    # The sides of the axes (RAS or LPS, mirrored or not) change nothing in the extent of a box.
    if np.allclose(np.sort(abs(axes), axis=1), [[0, 0, 1]] * 3, atol=1e-3):
        half = np.rint(abs(axes)) @ size / 2
    else:
        half = abs(axes) @ size / 2
        _log.warning(
            "%s: the box of %s is rotated; the box along the patient's axes around it is used", path, name
        )
    low, high = known[0] - half, known[0] + half
    return Box(tuple(low), tuple(high))


def _fcsv(path: Path, kind: type[MedlsamError]) -> _Node:
    """The points of a file of Slicer 4: comments with coordinate system and columns, then a row for each point."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        options = dict(re.findall(r"^# *(\S[^=]*?) *= *(.*?) *$", "\n".join(lines), re.M))
        system = options.get("CoordinateSystem", "RAS")
        if system not in _TO_LPS:
            raise kind(f"{path}: coordinate system {system!r} is neither LPS nor RAS")
        columns = options["columns"].split(",")
        rows = csv.reader(line for line in lines if line.strip() and not line.startswith("#"))
        found = [dict(zip(columns, row, strict=False)) for row in rows]
        sides = np.asarray(_TO_LPS[system], dtype=float)
        points = [
            _Point(row["label"], np.array([float(row[axis]) for axis in "xyz"]) * sides) for row in found
        ]
    except _BROKEN as error:
        raise _foreign(path, kind, error) from error
    return _Node("", tuple(points))


def _file_stem(path: Path) -> str:
    return re.sub(r"(\.mrk)?\.(json|fcsv)$", "", path.name, flags=re.I)


def _stem(label: str) -> str:
    return re.sub(r"([-_ ]*\d+|[-_ ][xyz][-+])$", "", label).strip() or label


def _face_centres(box: Box) -> NDArray[np.float64]:
    points = np.tile(np.asarray(box.center), (6, 1))
    points[np.arange(6), np.arange(6) // 2] = box.faces
    return points


def _extreme(
    structure: str, placed: list[NDArray[np.float64]], points: list[_Point], path: Path
) -> ExtremePoints:
    if len(placed) != 6:
        absent = [
            f"{point.label or 'a point'} ({point.status})" for point in points if point.position is None
        ]
        ends = {point.label[-2:] for point in points}
        missing = [face for face in FACES if face not in ends] if ends < set(FACES) else []
        raise TemplateError(
            f"{path}: {structure} has {len(placed)} points; six are needed "
            "(left, right, front, back, top and bottom)"
            + (f"; not placed: {', '.join(absent)}" if absent else "")
            + (f"; not there: {', '.join(missing)}" if missing else "")
        )
    array = np.stack(placed)
    if not np.isfinite(array).all() or not np.ptp(array, axis=0).min() > 0:
        raise TemplateError(
            f"{path}: the six points of {structure} lie in one plane or are not numbers; place them anew"
        )
    return ExtremePoints.from_unordered(array)
