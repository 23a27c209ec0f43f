"""Points and boxes for 3D Slicer: what its schema wants, and what comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medlsam.export.slicer_markups import write_markups
from medlsam.geometry import FACES, Box, ExtremePoints
from medlsam.io.slicer_markups import read_boxes, read_markups
from medlsam.results import Localization, LocatedStructure

BOX = Box((-10.25, 20.5, -300.125), (31.0, 77.7, -150.0))
POINTS = ExtremePoints(
    ((-10.25, 30, -200), (31, 40, -210), (1, 20.5, -220), (2, 77.7, -230), (3, 33, -300.125), (4, 44, -150))
)
#: Properties that the schema knows, by what they must be.
NODE = {
    "type": str,
    "name": str,
    "coordinateSystem": str,
    "coordinateUnits": str,
    "locked": bool,
    "fixedNumberOfControlPoints": bool,
    "labelFormat": str,
    "lastUsedControlPointNumber": int,
    "controlPoints": list,
    "measurements": list,
    "display": dict,
}
POINT = {
    "id": str,
    "label": str,
    "description": str,
    "associatedNodeID": str,
    "position": list,
    "orientation": list,
    "selected": bool,
    "locked": bool,
    "visibility": bool,
    "positionStatus": str,
}


def located(**more: LocatedStructure) -> Localization:
    return Localization("scan", more)


def full() -> Localization:
    return located(
        liver=LocatedStructure("liver", "found", 0.931, points=POINTS, box=BOX),
        spleen=LocatedStructure("spleen", "uncertain", 0.2, box=BOX.expand(1)),
        kidney=LocatedStructure("kidney", "missing", 0.1, points=POINTS, box=BOX),
        thyroid=LocatedStructure("thyroid", "out_of_view", 0.1, points=POINTS, box=BOX),
    )


def content(path: Path) -> dict[str, dict]:
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["@schema"].endswith("Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#")
    for node in data["markups"]:
        for key, kind in NODE.items():
            assert isinstance(node[key], kind), key
        for point in node["controlPoints"]:
            assert {key: type(value) for key, value in point.items()} == POINT
            assert len(point["position"]) == 3
            assert point["positionStatus"] == "defined"
        assert (node["coordinateSystem"], node["coordinateUnits"]) == ("LPS", "mm")
        for colour in ("color", "selectedColor"):
            assert all(0 <= part <= 1 for part in node["display"][colour])
    return {node["name"]: node for node in data["markups"]}


def test_the_points_of_what_is_there(tmp_path: Path) -> None:
    assert write_markups(full(), tmp_path) == ["points.mrk.json", "boxes.mrk.json"]
    nodes = content(tmp_path / "points.mrk.json")
    assert list(nodes) == ["liver"]  # the spleen has no points, the others are not there
    assert nodes["liver"]["type"] == "Fiducial"
    points = nodes["liver"]["controlPoints"]
    assert [point["label"] for point in points] == [f"liver {face}" for face in FACES]
    assert {point["description"] for point in points} == {"found, confidence 0.93"}
    np.testing.assert_array_equal([point["position"] for point in points], POINTS.array)
    assert read_markups(tmp_path / "points.mrk.json")["liver"] == POINTS


def test_the_boxes_of_what_is_there(tmp_path: Path) -> None:
    write_markups(full(), tmp_path)
    nodes = content(tmp_path / "boxes.mrk.json")
    assert list(nodes) == ["liver", "spleen"]
    liver = nodes["liver"]
    assert (liver["type"], liver["roiType"], liver["insideOut"]) == ("ROI", "Box", False)
    assert liver["center"] == list(BOX.center) == liver["controlPoints"][0]["position"]
    assert liver["size"] == list(BOX.size)
    # Slicer reads the rows of x and y with the other sign: this is the identity there.
    assert liver["orientation"] == [-1, 0, 0, 0, -1, 0, 0, 0, 1]
    assert nodes["spleen"]["description"] == "uncertain, confidence 0.20"
    assert liver["display"]["selectedColor"] != nodes["spleen"]["display"]["selectedColor"]


def test_a_file_without_a_node_is_not_written(tmp_path: Path) -> None:
    nothing = located(kidney=LocatedStructure("kidney", "missing", 0.1, points=POINTS, box=BOX))
    assert write_markups(nothing, tmp_path) == []
    only_box = located(spleen=LocatedStructure("spleen", "found", 0.9, box=BOX))
    assert write_markups(only_box, tmp_path) == ["boxes.mrk.json"]
    assert [file.name for file in tmp_path.iterdir()] == ["boxes.mrk.json"]


@settings(max_examples=50, deadline=None)
@given(
    low=st.tuples(*[st.floats(-2000, 2000)] * 3),
    size=st.tuples(*[st.floats(0.01, 800)] * 3),
)
def test_a_box_comes_back(tmp_path_factory, low: tuple, size: tuple) -> None:
    box = Box(low, tuple(np.add(low, size)))
    folder = tmp_path_factory.mktemp("boxes")
    write_markups(located(liver=LocatedStructure("liver", "found", 0.9, box=box)), folder)
    # A billionth of a millimetre: far below what moves a voxel's prompt.
    np.testing.assert_allclose(read_boxes(folder / "boxes.mrk.json")["liver"].faces, box.faces, atol=1e-9)
