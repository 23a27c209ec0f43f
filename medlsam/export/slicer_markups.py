"""Points and boxes as 3D Slicer 5 opens them: ``points.mrk.json`` and ``boxes.mrk.json``.

The files follow version 1.0.3 of Slicer's markups schema. Structures that are missing or out of view are not in them:
what is in ``boxes.mrk.json`` is what ``segment --boxes`` segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medlsam.export.anatomy import colour_of
from medlsam.geometry import FACES
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
    # As in the other files of a run: a colour goes by the structure's name.
    colours = {s.name: [round(part / 255, 3) for part in colour_of(s.name)] for s in there}
    nodes = {
        POINTS_FILE: [_point_list(s, colours[s.name]) for s in there if s.points is not None],
        BOXES_FILE: [_roi(s, colours[s.name]) for s in there],
    }
    for name, own in nodes.items():
        if own:
            write_json(folder / name, {"@schema": _SCHEMA, "markups": own})
    return [name for name, own in nodes.items() if own]


def _point_list(structure: LocatedStructure, colour: list[float]) -> dict[str, Any]:
    assert structure.points is not None
    labels = [f"{structure.name} {face}" for face in FACES]
    return _node("Fiducial", structure, colour, list(zip(labels, structure.points.points, strict=True)))


def _roi(structure: LocatedStructure, colour: list[float]) -> dict[str, Any]:
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
    return _node("ROI", structure, colour, [(structure.name, center)], box)


def _node(
    kind: str,
    structure: LocatedStructure,
    colour: list[float],
    points: list[tuple[str, Sequence[float]]],
    own: dict[str, Any] | None = None,
) -> dict[str, Any]:
    description = f"{structure.status}, confidence {structure.confidence:.2f}"
    return {
        "type": kind,
        "name": structure.name,
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
                "position": list(position),
                "orientation": list(_AXES),
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
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
