"""The answers of one scan as ``extreme_points.mrk.json``: one Slicer point list for each structure.

Points are labelled ``<structure> x-`` to ``<structure> z+``, those whose face is open ``<structure>-1`` and so on;
faces without a point are there as points that Slicer has yet to place. "Not in this scan" is an empty list that says so
in its description. All of it is one file, so that every change is one rename.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.errors import TemplateError
from medlsam.export.slicer_markups import point_list, write_nodes
from medlsam.geometry import FACES, Vector
from medlsam.io.labelled_scans import POINTS_FILE
from medlsam.io.slicer_markups.nodes import NOT_IN_SCAN, file_stem, read_nodes, stem
from medlsam.viewer.annotate.marks import StructureMarks

#: Structure to its answer; structures without one are not in it.
Answers = dict[str, StructureMarks]
_FACE = re.compile(r"(?:^|[-_ ])([xyz][-+])$")


def read_answers(folder: Path) -> Answers:
    """The answers in a scan's folder; none where there is no file.

    The file may have been saved by Slicer since: other coordinate systems and units, other order, and without the names
    of lists. A face that the labels name is kept; faces that are named twice are found anew, and all of them where
    left and right, front and back, or top and bottom are crossed. A structure with points is not absent, whatever else
    the file says.

    Raises:
        TemplateError: the file cannot be read, or is no markups file.
    """
    path = folder / POINTS_FILE
    if not path.is_file():
        return {}
    points: dict[str, list[tuple[str | None, Vector]]] = {}
    absent = set()
    for node in read_nodes(path, TemplateError):
        if node.box is not None:
            name = node.name or stem(node.label) or stem(file_stem(path))
            center = node.box.center
            for n, face in enumerate(FACES):
                place = list(center)
                place[n // 2] = float(node.box.faces[n])
                points.setdefault(name, []).append((face, (place[0], place[1], place[2])))
            continue
        if node.name and not node.points and node.description == NOT_IN_SCAN:
            absent.add(node.name)
        for point in node.points:
            if point.position is None or not np.isfinite(point.position).all():
                continue
            named = _FACE.search(point.label)
            x, y, z = point.position.tolist()
            points.setdefault(node.name or stem(point.label), []).append((named and named[1], (x, y, z)))
    found = {name: _marks(own) for name, own in points.items()}
    return found | {name: StructureMarks(absent=True) for name in sorted(absent - set(found))}


def write_answers(folder: Path, answers: Mapping[str, StructureMarks]) -> None:
    """Write the answers of a scan, atomically; without any the file goes.

    Raises:
        OSError: it cannot be written.
    """
    nodes = [node for name, marks in answers.items() if (node := _node(name, marks)) is not None]
    if nodes:
        write_nodes(folder / POINTS_FILE, nodes)
    else:
        (folder / POINTS_FILE).unlink(missing_ok=True)


def _node(name: str, marks: StructureMarks) -> dict[str, Any] | None:
    if marks.absent:
        return point_list(name, [], NOT_IN_SCAN)
    placed: list[tuple[str, Vector | None]] = [
        (f"{name} {face}", marks.faces.get(face)) for face in FACES if face in marks.faces or marks.remaining
    ]
    if not marks.points:
        return None
    # As many in all as there will be: a loose point stands for one of the faces that have none.
    spare = len(placed) + len(marks.loose) - max(6, len(marks.points))
    for entry in [entry for entry in placed if entry[1] is None][::-1][: max(0, spare)]:
        placed.remove(entry)
    loose: list[tuple[str, Vector | None]] = [(f"{name}-{n}", p) for n, p in enumerate(marks.loose, start=1)]
    return point_list(name, [*placed, *loose])


def _marks(points: list[tuple[str | None, Vector]]) -> StructureMarks:
    named = [face for face, _ in points]
    faces = {face: place for face, place in points if face is not None and named.count(face) == 1}
    loose = tuple(place for face, place in points if face not in faces)
    return StructureMarks(faces, loose).settled()
