"""Points and boxes as 3D Slicer 5 opens them: ``points.mrk.json`` and ``boxes.mrk.json``.

The files follow version 1.0.3 of Slicer's markups schema. Structures that are missing or out of view are not in them:
what is in ``boxes.mrk.json`` is what ``segment --boxes`` segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medlsam.export.anatomy import colour_of
from medlsam.geometry import FACES, Vector
from medlsam.results import Localization, LocatedStructure
from medlsam.runtime.atomic_files import write_json

POINTS_FILE, BOXES_FILE = "points.mrk.json", "boxes.mrk.json"
#: All that ``write_markups`` may write.
MARKUPS_FILES = (POINTS_FILE, BOXES_FILE)

# The branch was renamed since; Slicer compares the text and goes on writing it.
_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
# Slicer's own axes (RAS), seen from LPS: what it writes for a box that nobody turned.
_AXES = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def write_markups(localization: Localization, folder: Path) -> list[str]:
    """Write the points and the boxes of the structures that are there, LPS mm.

    ``points.mrk.json`` holds a point list for each structure with points, its six points labelled ``<structure> x-`` to
    ``<structure> z+``; ``boxes.mrk.json`` an ROI for each structure. Each point's description says status and
    confidence. A file without a node is not written, since Slicer opens none.

    Args:
        localization: of one scan.
        folder: where to.

    Returns:
        The names of the files.
    """
    there = [structure for structure in localization.structures.values() if structure.present]
    nodes = {
        POINTS_FILE: [_located_points(s) for s in there if s.points is not None],
        BOXES_FILE: [_roi(s) for s in there],
    }
    for name, own in nodes.items():
        if own:
            write_nodes(folder / name, own)
    return [name for name, own in nodes.items() if own]


def write_nodes(path: Path, nodes: Sequence[dict[str, Any]]) -> None:
    """Write markups nodes as one file, atomically.

    Args:
        path: a ``.mrk.json`` file.
        nodes: from ``point_list``.
    """
    write_json(path, {"@schema": _SCHEMA, "markups": list(nodes)})


def point_list(
    name: str, points: Sequence[tuple[str, Vector | None]], description: str = ""
) -> dict[str, Any]:
    """A point list as a node of a markups file.

    Args:
        name: of the structure.
        points: label and place (LPS mm) of each point; None for one that is not placed yet: Slicer shows it in its
            table, and the next click there places it.
        description: of the list and of each point.
    """
    return _node("Fiducial", name, description, points)


def _located_points(structure: LocatedStructure) -> dict[str, Any]:
    assert structure.points is not None
    labels = [f"{structure.name} {face}" for face in FACES]
    points = list(zip(labels, structure.points.points, strict=True))
    return point_list(structure.name, points, _verdict(structure))


def _roi(structure: LocatedStructure) -> dict[str, Any]:
    # Not the mask's box: a box that nobody moves must give the same mask when it comes back.
    located = structure.located_box
    assert located is not None
    center = located.center
    box = {
        "roiType": "Box",
        "center": list(center),
        "orientation": list(_AXES),
        "size": list(located.size),
        "insideOut": False,
    }
    return _node("ROI", structure.name, _verdict(structure), [(structure.name, center)], box)


def _verdict(structure: LocatedStructure) -> str:
    return f"{structure.status}, confidence {structure.confidence:.2f}"


def _node(
    kind: str,
    name: str,
    description: str,
    points: Sequence[tuple[str, Vector | None]],
    own: dict[str, Any] | None = None,
) -> dict[str, Any]:
    # As in the other files of a run: a colour goes by the structure's name.
    colour = [round(part / 255, 3) for part in colour_of(name)]
    return {
        "type": kind,
        "name": name,
        "description": description,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        **(own or {}),
        "controlPoints": [
            {
                "id": str(number),
                "label": label,
                "description": description,
                "associatedNodeID": "",
                "position": "" if position is None else list(position),
                "orientation": list(_AXES),
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "undefined" if position is None else "defined",
            }
            for number, (label, position) in enumerate(points, start=1)
        ],
        "measurements": [],
        "display": {
            "visibility": True,
            "opacity": 1.0,
            "color": colour,
            "selectedColor": colour,
            "propertiesLabelVisibility": kind == "ROI",
            "pointLabelsVisibility": kind == "Fiducial",
            "handlesInteractive": kind == "ROI",
        },
    }
