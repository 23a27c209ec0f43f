"""Nodes of a 3D Slicer markups file (``.mrk.json``, and points in the older ``.fcsv``), in LPS mm.

Slicer saves each node in a file of its own and leaves the node's name out: the file has it. A file that was written
for Slicer may hold several nodes with their names. Points that are hidden or locked were placed all the same: they
count.
"""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import MedlsamError
from medlsam.geometry import Box

_log = logging.getLogger(__name__)
# Slicer wrote numbers before it wrote names.
_TO_LPS = {"LPS": (1, 1, 1), "1": (1, 1, 1), "RAS": (-1, -1, 1), "0": (-1, -1, 1)}
_MM = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3}
_STATUSES = ("defined", "undefined", "preview")
#: Description of a node without points: somebody looked, and the structure is not in the scan.
NOT_IN_SCAN = "not in this scan"
#: What a broken or foreign file raises while it is taken apart.
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError)


@dataclass(frozen=True)
class Point:
    """A control point: where it is (LPS mm), or None and why not."""

    label: str
    position: NDArray[np.float64] | None
    status: str = "defined"


@dataclass(frozen=True)
class Node:
    """A markups node: control points, and the box of an ROI.

    Attributes:
        name: empty where the file leaves it out.
        points: in the file's order.
        box: of an ROI, LPS mm.
        kind: as Slicer calls it: ``Fiducial`` (points), ``ROI``, ``Line``.
        description: as the file has it.
    """

    name: str
    points: tuple[Point, ...]
    box: Box | None = None
    kind: str = "Fiducial"
    description: str = ""

    @property
    def label(self) -> str:
        """Of the first point."""
        return self.points[0].label if self.points else ""


def read_nodes(
    path: Path, error: type[MedlsamError], types: tuple[str, ...] = ("ROI", "Fiducial")
) -> Iterator[Node]:
    """Read the nodes of a file.

    Args:
        path: a ``.mrk.json`` or ``.fcsv`` file.
        error: what is raised.
        types: of nodes that are wanted; another is an error.
    """
    for _, found in try_nodes(path, error, types):
        if isinstance(found, MedlsamError):
            raise found
        yield found


def try_nodes(
    path: Path, error: type[MedlsamError], types: tuple[str, ...]
) -> Iterator[tuple[str, Node | MedlsamError]]:
    """Read the nodes of a file: the name of each, and the node or what is wrong with it; see ``read_nodes``.

    Raises:
        MedlsamError: the whole file cannot be read; of the type ``error``.
    """
    if path.suffix.lower() == ".fcsv":
        yield file_stem(path), _fcsv(path, error)
        return
    try:
        nodes = list(read_content(path, error)["markups"])
    except BROKEN as reason:
        raise _foreign(path, error, reason) from reason
    for number, node in enumerate(nodes, start=1):
        name = file_stem(path) if len(nodes) == 1 else f"node {number}"
        found: Node | MedlsamError
        try:
            name = str(node.get("name") or name)
            found = _node(node, path, error, types)
        except MedlsamError as reason:
            found = reason
        except BROKEN as reason:
            found = _foreign(path, error, reason)
        yield name, found


def read_content(path: Path, error: type[MedlsamError]) -> Any:
    """Read the JSON values of a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except BROKEN as reason:
        raise _foreign(path, error, reason) from reason


def file_stem(path: Path) -> str:
    """The name that Slicer gives to a node: that of its file."""
    return re.sub(r"(\.mrk)?\.(json|fcsv)$", "", path.name, flags=re.I)


def stem(label: str) -> str:
    """A point's label without the number or the face at its end."""
    return re.sub(r"([-_ ]*\d+|[-_ ][xyz][-+])$", "", label).strip() or label


def _foreign(path: Path, kind: type[MedlsamError], error: Exception) -> MedlsamError:
    return kind(f"{path}: not a 3D Slicer markups file ({type(error).__name__}: {error})")


def _node(node: Mapping[str, Any], path: Path, kind: type[MedlsamError], types: tuple[str, ...]) -> Node:
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
        return Node(name, points, _roi_box(node, name or file_stem(path), points, to_mm, path, kind), type_)
    if type_ not in types:
        wanted = (
            "draw a Line, an ROI or a point" if "Line" in types else "place six points (Point List) or an ROI"
        )
        raise kind(f"{path}: {name or 'a node'} is a {type_}; {wanted}")
    return Node(name, points, kind=type_, description=str(node.get("description") or ""))


def _point(
    control: Mapping[str, Any], to_mm: NDArray[np.float64], path: Path, kind: type[MedlsamError]
) -> Point:
    label, status = str(control.get("label", "")), str(control.get("positionStatus", "defined"))
    if status not in _STATUSES:
        raise kind(f"{path}: {label or 'a point'} has the status {status!r}, not {', '.join(_STATUSES)}")
    position = control.get("position")
    # Slicer writes an empty text where a point has no place.
    if status != "defined" or position in (None, ""):
        return Point(label, None, "undefined" if status == "defined" else status)
    return Point(label, np.asarray(position, dtype=float).reshape(3) * to_mm)


def _roi_box(
    node: Mapping[str, Any],
    name: str,
    points: tuple[Point, ...],
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


def _fcsv(path: Path, kind: type[MedlsamError]) -> Node:
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
            Point(row["label"], np.array([float(row[axis]) for axis in "xyz"]) * sides) for row in found
        ]
    except BROKEN as error:
        raise _foreign(path, kind, error) from error
    return Node("", tuple(points))
