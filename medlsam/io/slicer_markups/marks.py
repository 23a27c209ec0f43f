"""Marks that somebody drew in 3D Slicer: ROIs, lines and points, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.errors import MedlsamError, UsageError
from medlsam.geometry import Box, Vector
from medlsam.io.slicer_markups.nodes import Node, file_stem, try_nodes


@dataclass(frozen=True)
class Mark:
    """A mark of a markups file.

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


def read_marks(path: Path | str) -> list[tuple[str, Mark | MedlsamError]]:
    """ROIs, lines and points of a markups file, in the file's order.

    Returns:
        The name of each, and the mark; or what is wrong with it: a point that is not placed, a line without two points,
        a node of another kind. The point under the mouse that Slicer calls ``preview`` is no mark.

    Raises:
        UsageError: the file cannot be read.
    """
    path = Path(path)
    marks: list[tuple[str, Mark | MedlsamError]] = []
    for name, node in try_nodes(path, UsageError, ("ROI", "Line", "Fiducial")):
        if isinstance(node, MedlsamError):
            marks.append((name, node))
        elif node.kind == "Fiducial":
            marks += _points(node, path)
        else:
            marks.append((node.name or file_stem(path), _roi_or_line(node, path)))
    return marks


def _points(node: Node, path: Path) -> Iterator[tuple[str, Mark | MedlsamError]]:
    for point in node.points:
        name = point.label or node.name or file_stem(path)
        if point.position is not None:
            yield name, Mark(name, node.kind, (_vector(point.position),))
        elif point.status != "preview":
            yield (
                name,
                UsageError(f"{path}: the point {name} is not placed ({point.status}); place or delete it"),
            )


def _roi_or_line(node: Node, path: Path) -> Mark | UsageError:
    name = node.name or file_stem(path)
    if node.kind == "ROI":
        return Mark(name, node.kind, box=node.box)
    points = tuple(_vector(point.position) for point in node.points if point.position is not None)
    if len(points) != 2:
        return UsageError(f"{path}: the line {name} has {len(points)} placed points; it needs two")
    return Mark(name, node.kind, points)


def _vector(position: NDArray[np.float64]) -> Vector:
    x, y, z = position.tolist()
    return (x, y, z)
