"""Extreme points drawn in 3D Slicer."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES, Box
from medlsam.io.labelled_scans import find_templates
from medlsam.io.slicer_markups import read_boxes, read_markups
from medlsam.results import Localization, LocatedStructure
from medlsam.runtime.atomic_files import write_json


def touch(*paths, content=b""):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


POINTS = [[5, 5, 9], [1, 4, 4], [9, 4, 5], [5, 0, 5], [4, 8, 5], [5, 5, -3]]


def markups(path, *nodes):
    write_json(path, {"markups": list(nodes)})
    return path


def node(points, system="LPS", label="Mandible-{}", **more):
    controls = [{"label": label.format(n + 1), "position": p} for n, p in enumerate(points)]
    return {"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls, **more}


def test_markups_in_any_order_and_both_systems(tmp_path):
    ras = [[-x, -y, z] for x, y, z in POINTS]
    path = markups(tmp_path / "p.mrk.json", node(POINTS), node(ras, "RAS", name="left parotid"))
    found = read_markups(path)
    assert set(found) == {"Mandible", "left parotid"}
    for points in found.values():
        assert points.box == Box((1, 0, -3), (9, 8, 9))
    np.testing.assert_array_equal(found["Mandible"].array[0], [1, 4, 4])
    np.testing.assert_array_equal(found["Mandible"].array[5], [5, 5, 9])


def test_markups_of_several_organs_in_one_node(tmp_path):
    both = node(POINTS)
    both["controlPoints"] += node([[x + 50, y, z] for x, y, z in POINTS], label="Vertebra L1 {}")[
        "controlPoints"
    ]
    found = read_markups(markups(tmp_path / "p.mrk.json", both))
    assert found["Vertebra L1"].box.min[0] == found["Mandible"].box.min[0] + 50


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a 3D Slicer markups file"),
        ('{"fiducials": []}', "not a 3D Slicer markups file"),
        ('{"markups": []}', "no points"),
        (json.dumps({"markups": [node(POINTS[:5])]}), "Mandible has 5 points; six"),
        (json.dumps({"markups": [node(POINTS, "IJK")]}), "'IJK' is neither LPS nor RAS"),
        (json.dumps({"markups": [node([[x, y, 0] for x, y, _ in POINTS])]}), "lie in one plane"),
        (json.dumps({"markups": [node([[1, 2]] * 6)]}), "not a 3D Slicer markups file"),
    ],
)
def test_wrong_markups_are_refused(tmp_path, content, words):
    (tmp_path / "p.mrk.json").write_text(content)
    with pytest.raises(TemplateError, match=words):
        read_markups(tmp_path / "p.mrk.json")


def test_templates_from_points(tmp_path):
    touch(tmp_path / "a" / "image.nii.gz")
    markups(tmp_path / "a" / "extreme_points.mrk.json", node(POINTS))
    cases, structures = find_templates(tmp_path)
    assert structures == {1: "Mandible"}
    assert cases[0].points == tmp_path / "a" / "extreme_points.mrk.json"
    assert cases[0].labels is None
    write_json(tmp_path / "labels.json", {"liver": 1})
    with pytest.raises(TemplateError, match=r"Mandible is not in labels\.json"):
        find_templates(tmp_path)
    write_json(tmp_path / "labels.json", {"Mandible": 7})
    assert find_templates(tmp_path)[1] == {7: "Mandible"}


def roi(center=(10.0, 20.0, 30.0), size=(4.0, 6.0, 8.0), system="LPS", **more):
    # What Slicer 5 writes for a box that nobody turned; it leaves the name out.
    return {
        "type": "ROI",
        "coordinateSystem": system,
        "coordinateUnits": "mm",
        "roiType": "Box",
        "center": list(center),
        "orientation": [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0],
        "size": list(size),
        "insideOut": False,
        "controlPoints": [{"label": "R-1", "position": list(center), "positionStatus": "defined"}],
        **more,
    }


BOX = Box((8, 17, 26), (12, 23, 34))


@pytest.mark.parametrize("system", [0, "0", "RAS", 1, "LPS"])
def test_numeric_coordinate_systems(tmp_path, system):
    sides = (-1, -1, 1) if str(system) in ("0", "RAS") else (1, 1, 1)
    points = (np.asarray(POINTS) * sides).tolist()
    assert read_markups(markups(tmp_path / "p.mrk.json", node(points, system)))["Mandible"].box == Box(
        (1, 0, -3), (9, 8, 9)
    )


@pytest.mark.parametrize(("units", "factor"), [("um", 1000), (["mm", "UCUM", "millimeter"], 1), ("cm", 0.1)])
def test_other_units_become_mm(tmp_path, units, factor):
    points = (np.asarray(POINTS) * factor).tolist()
    found = read_markups(markups(tmp_path / "p.mrk.json", node(points, coordinateUnits=units)))
    np.testing.assert_allclose(found["Mandible"].box.faces, [1, 9, 0, 8, -3, 9])
    box = roi(
        [10 * factor, 20 * factor, 30 * factor], [4 * factor, 6 * factor, 8 * factor], coordinateUnits=units
    )
    np.testing.assert_allclose(
        read_boxes(markups(tmp_path / "b.mrk.json", box | {"name": "liver"}))["liver"].faces, BOX.faces
    )


def test_points_that_are_not_placed_are_named(tmp_path):
    # Slicer writes an empty text for the position of a point without a place.
    content = node(POINTS)
    content["controlPoints"][1] |= {"position": "", "positionStatus": "undefined"}
    content["controlPoints"][4]["positionStatus"] = "preview"  # where the mouse was last
    with pytest.raises(
        TemplateError, match=r"4 points; six .*not placed: Mandible-2 \(undefined\), Mandible-5 \(preview\)"
    ):
        read_markups(markups(tmp_path / "p.mrk.json", content))
    for point in content["controlPoints"]:
        point |= {"position": "", "positionStatus": "undefined"}
    with pytest.raises(TemplateError, match=r"Mandible has 0 points.*Mandible-6 \(undefined\)"):
        read_markups(markups(tmp_path / "p.mrk.json", content))
    content["controlPoints"][0]["positionStatus"] = "somewhere"
    with pytest.raises(TemplateError, match="Mandible-1 has the status 'somewhere'"):
        read_markups(markups(tmp_path / "p.mrk.json", content))


def test_missing_faces_are_named(tmp_path):
    content = node(POINTS)
    for point, face in zip(content["controlPoints"], FACES, strict=True):
        point["label"] = f"Mandible {face}"
    assert set(read_markups(markups(tmp_path / "p.mrk.json", content))) == {"Mandible"}
    del content["controlPoints"][3]
    with pytest.raises(TemplateError, match=r"Mandible has 5 points.*not there: y\+$"):
        read_markups(markups(tmp_path / "p.mrk.json", content))


def test_hidden_and_locked_points_were_placed_all_the_same(tmp_path):
    content = node(POINTS, locked=True, display={"visibility": False})
    for point in content["controlPoints"]:
        point |= {"visibility": False, "locked": True, "selected": False}
    assert read_markups(markups(tmp_path / "p.mrk.json", content))["Mandible"].box.max == (9, 8, 9)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_positions_that_are_no_numbers(tmp_path, number):
    path = tmp_path / "p.mrk.json"
    path.write_text(json.dumps({"markups": [node([[number, 5, 9], *POINTS[1:]])]}))
    with pytest.raises(TemplateError, match="are not numbers"):
        read_markups(path)


def test_other_kinds_of_nodes_are_named(tmp_path):
    with pytest.raises(TemplateError, match="ruler is a Line; place six points"):
        read_markups(markups(tmp_path / "p.mrk.json", node(POINTS[:2], type="Line", name="ruler")))


def test_an_roi_stands_for_its_faces(tmp_path):
    found = read_markups(markups(tmp_path / "p.mrk.json", node(POINTS), roi(name="liver")))
    assert found["liver"].box == BOX
    np.testing.assert_array_equal(found["liver"].array[2], [10, 17, 30])
    with pytest.raises(TemplateError, match="liver has 12 points"):
        read_markups(markups(tmp_path / "p.mrk.json", roi(name="liver"), node(POINTS, name="liver")))


FCSV = """# Markups fiducial file version = 4.10
# CoordinateSystem = {}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
"""


@pytest.mark.parametrize(("system", "side"), [("0", -1), ("RAS", -1), ("1", 1), ("LPS", 1)])
def test_old_fiducial_files(tmp_path, system, side):
    rows = [
        f'vtkMRMLMarkupsFiducialNode_{n},{side * x},{side * y},{z},0,0,0,1,1,1,0,"Mandible-{n}",,\n'
        for n, (x, y, z) in enumerate(POINTS)
    ]
    path = tmp_path / "old.fcsv"
    path.write_text(FCSV.format(system) + "".join(rows))
    assert read_markups(path)["Mandible"].box == Box((1, 0, -3), (9, 8, 9))
    path.write_text(FCSV.format(system) + "".join(rows[:4]))
    with pytest.raises(TemplateError, match="Mandible has 4 points"):
        read_markups(path)
    for text, words in (
        (FCSV.format("2") + rows[0], "'2' is neither LPS nor RAS"),
        ("x,y\n1,2\n", "not a 3D Slicer markups file"),
        (FCSV.format("1") + "a,left,2,3,0,0,0,1,1,1,0,Mandible-1,,", "not a 3D Slicer markups file"),
    ):
        path.write_text(text)
        with pytest.raises(TemplateError, match=words):
            read_markups(path)


def test_boxes_in_both_systems(tmp_path):
    # A RAS file has the identity as orientation; the extent is the same.
    ras = roi((-10.0, -20.0, 30.0), system="RAS", orientation=np.eye(3).ravel().tolist(), name="spleen")
    found = read_boxes(markups(tmp_path / "boxes.mrk.json", roi(name="liver"), ras, node(POINTS)))
    assert found == {"liver": BOX, "spleen": BOX}


def test_axes_of_a_box_may_be_exchanged(tmp_path, caplog):
    turned = roi(size=(6.0, 8.0, 4.0), orientation=[0, 0, 1, 1, 0, 0, 0, 1, 0], name="liver")
    assert read_boxes(markups(tmp_path / "b.mrk.json", turned)) == {"liver": BOX}
    assert not caplog.records


@settings(max_examples=50, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.2, 3.2)] * 3),
    center=st.tuples(*[st.floats(-500, 500)] * 3),
    size=st.tuples(*[st.floats(0.1, 300)] * 3),
)
def test_a_rotated_box_becomes_the_one_around_it(tmp_path_factory, angles, center, size):
    axes = Rotation.from_euler("xyz", angles).as_matrix()
    path = tmp_path_factory.mktemp("roi") / "liver.mrk.json"
    markups(path, roi(center, size, orientation=axes.ravel().tolist()))
    found = read_boxes(path)["liver"]
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2 * size
    around = corners @ axes.T + center  # the columns are the box's axes
    slack = max(size) * 2e-3  # turned by less than 0.06 degrees, it counts as not turned
    np.testing.assert_allclose(found.min, around.min(axis=0), atol=slack)
    np.testing.assert_allclose(found.max, around.max(axis=0), atol=slack)


def test_a_rotated_box_is_told(tmp_path, caplog):
    axes = Rotation.from_euler("z", 0.3).as_matrix()
    read_boxes(markups(tmp_path / "b.mrk.json", roi(orientation=axes.ravel().tolist(), name="liver")))
    assert "the box of liver is rotated" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": [4, 0, 8]}, "size .*each edge must be above 0"),
        ({"size": [4, "NaN", 8]}, "each edge must be above 0"),
        ({"size": [4, 6]}, "not a 3D Slicer markups file"),
        ({"center": [10, 20, 35]}, "has the centre .* but its control point lies at"),
        ({"orientation": [2, 0, 0, 0, 1, 0, 0, 0, 1]}, "is no rotation"),
        ({"orientation": [0] * 9}, "is no rotation"),
        ({"coordinateSystem": "IJK"}, "neither LPS nor RAS"),
        ({"coordinateUnits": "inch"}, "coordinates in 'inch'"),
        ({"type": "Fiducial"}, "holds no box"),
    ],
)
def test_wrong_boxes_are_refused(tmp_path, changes, words):
    with pytest.raises(UsageError, match=words):
        read_boxes(markups(tmp_path / "b.mrk.json", roi(name="liver") | changes))


def test_a_box_without_a_centre(tmp_path):
    content = roi(name="liver")
    del content["center"]
    assert read_boxes(markups(tmp_path / "b.mrk.json", content)) == {"liver": BOX}
    content["controlPoints"][0] |= {"position": "", "positionStatus": "undefined"}
    with pytest.raises(UsageError, match="is not placed"):
        read_boxes(markups(tmp_path / "b.mrk.json", content))


def test_a_box_that_slicer_saved_has_no_name(tmp_path):
    known = ("liver", "spleen")
    assert set(read_boxes(markups(tmp_path / "liver.mrk.json", roi()), known)) == {"liver"}
    assert set(read_boxes(markups(tmp_path / "liver.mrk.json", roi()))) == {"liver"}
    labelled = roi()
    labelled["controlPoints"][0]["label"] = "spleen-1"
    assert set(read_boxes(markups(tmp_path / "patient 7.mrk.json", labelled), known)) == {"spleen"}
    # Slicer calls a node as its file.
    assert set(read_boxes(markups(tmp_path / "liver.mrk.json", labelled), known)) == {"liver"}
    assert set(read_boxes(markups(tmp_path / "patient 7.mrk.json", roi()), known)) == {"patient 7"}


def test_two_boxes_of_one_structure(tmp_path):
    with pytest.raises(UsageError, match="two boxes of liver"):
        read_boxes(markups(tmp_path / "b.mrk.json", roi(name="liver"), roi(name="liver")))


def test_boxes_of_a_localization(tmp_path):
    located = {
        "a": LocatedStructure("a", "found", 0.9, box=BOX),
        "b": LocatedStructure("b", "uncertain", 0.3, box=BOX.expand(1)),
        "c": LocatedStructure("c", "missing", 0.1, box=BOX),
        "d": LocatedStructure("d", "out_of_view", 0.1, box=BOX),
    }
    write_json(tmp_path / "localization.json", Localization("scan", located).to_dict())
    assert read_boxes(tmp_path / "localization.json") == {"a": BOX, "b": BOX.expand(1)}
    (tmp_path / "localization.json").write_text('{"organs": {"a": {}}}')
    with pytest.raises(UsageError, match="not a localization.json"):
        read_boxes(tmp_path / "localization.json")
