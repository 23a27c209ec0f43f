"""A scan's answers as markups: there and back, and after Slicer has saved them."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest

from medlsam.errors import TemplateError
from medlsam.geometry import FACES, Box
from medlsam.io.labelled_scans import POINTS_FILE, find_templates
from medlsam.io.slicer_markups import read_markups
from medlsam.runtime.atomic_files import write_json
from medlsam.viewer.annotate.marks import StructureMarks
from medlsam.viewer.annotate.scan_file import read_answers, write_answers

PLACES = ((1.5, 4, 4), (9, 4, 5), (5, 0, 5), (4, 8, 5), (5, 5, -3), (5, 5, 9))
ALL = {face: tuple(map(float, place)) for face, place in zip(FACES, PLACES, strict=True)}
LIVER = StructureMarks(ALL)


def content(folder):
    return json.loads((folder / POINTS_FILE).read_text())


@pytest.mark.parametrize("count", range(7))
def test_every_set_of_faces_comes_back(tmp_path, count):
    for chosen in itertools.combinations(FACES, count):
        marks = StructureMarks({face: ALL[face] for face in chosen})
        write_answers(tmp_path, {"Vertebra 1": marks})
        assert read_answers(tmp_path) == ({"Vertebra 1": marks} if chosen else {})
        if not chosen:
            assert not (tmp_path / POINTS_FILE).exists()
            continue
        (node,) = content(tmp_path)["markups"]
        assert [point["label"] for point in node["controlPoints"]] == [f"Vertebra 1 {face}" for face in FACES]
        status = [point["positionStatus"] for point in node["controlPoints"]]
        assert status == ["defined" if face in chosen else "undefined" for face in FACES]


def test_loose_points_absence_and_order_come_back(tmp_path):
    answers = {
        "spleen": StructureMarks({"z+": (5.0, 5.0, 9.0)}, ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))),
        "liver": LIVER,
        "left kidney": StructureMarks(absent=True),
    }
    write_answers(tmp_path, answers)
    assert read_answers(tmp_path) == answers
    nodes = {node["name"]: node for node in content(tmp_path)["markups"]}
    assert nodes["left kidney"]["controlPoints"] == []
    assert len(nodes["spleen"]["controlPoints"]) == 6


def test_what_a_reader_of_six_makes_of_it(tmp_path, caplog):
    folder = tmp_path / "a"
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        write_answers(tmp_path / name, {"left kidney": StructureMarks(absent=True)})
        (tmp_path / name / "image.nii.gz").touch()
    with pytest.raises(TemplateError, match="no templates in this folder"):
        find_templates(tmp_path)
    half = StructureMarks({face: ALL[face] for face in FACES[:4]})
    write_answers(folder, {"spleen": half, "left kidney": StructureMarks(absent=True)})
    with pytest.raises(
        TemplateError, match="no template is finished yet: .*spleen has 4 points; six.*spleen z-"
    ):
        find_templates(tmp_path)
    write_answers(folder, {"spleen": half, "liver": LIVER, "left kidney": StructureMarks(absent=True)})
    caplog.clear()
    cases, names = find_templates(tmp_path)
    assert [case.name for case in cases] == ["a"]
    assert names == {1: "liver"}
    assert "spleen has 4 points; six are needed" in caplog.text
    assert "left out" in caplog.text
    with pytest.raises(TemplateError, match="spleen has 4 points"):
        read_markups(folder / POINTS_FILE)
    words = []
    found = read_markups(folder / POINTS_FILE, on_unfinished=words.append)
    assert found["liver"].box == LIVER.box
    assert (list(found), len(words)) == (["liver"], 1)


def by_slicer(node, system="RAS", order=(3, 0, 5, 1, 4, 2), name=None):
    """The same list as Slicer saves it: in RAS, without its name, in another order."""
    sides = np.array([-1, -1, 1]) if system == "RAS" else np.ones(3)
    points = []
    for n in order:
        point = dict(node["controlPoints"][n])
        if point["positionStatus"] == "defined":
            point["position"] = (np.asarray(point["position"]) * sides).tolist()
        points.append(point)
    kept = {key: value for key, value in node.items() if key not in ("name", "description")}
    return kept | {"coordinateSystem": system, "controlPoints": points} | ({"name": name} if name else {})


@pytest.mark.parametrize("count", [6, 4])
@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_what_slicer_saved_again_is_read_back(tmp_path, count, system):
    marks = StructureMarks({face: ALL[face] for face in FACES[:count]})
    write_answers(tmp_path, {"left kidney": marks})
    (node,) = content(tmp_path)["markups"]
    write_json(tmp_path / POINTS_FILE, {"markups": [by_slicer(node, system)]})
    assert read_answers(tmp_path) == {"left kidney": marks}


def test_points_that_slicer_placed_without_labels_get_faces(tmp_path):
    points = [{"label": f"F-{n}", "position": list(p)} for n, p in enumerate(PLACES[::-1], start=1)]
    node = {"type": "Fiducial", "coordinateSystem": "LPS", "name": "liver", "controlPoints": points}
    write_json(tmp_path / POINTS_FILE, {"markups": [node]})
    assert read_answers(tmp_path) == {"liver": LIVER}
    # Labels that stayed while the points were drawn across: the points decide.
    for point, face in zip(points, FACES, strict=True):
        point["label"] = f"liver {face}"
    write_json(tmp_path / POINTS_FILE, {"markups": [node]})
    assert read_answers(tmp_path) == {"liver": LIVER}
    # A seventh one is kept, and makes no template.
    points.append({"label": "liver-7", "position": [5, 5, 5]})
    write_json(tmp_path / POINTS_FILE, {"markups": [node]})
    seven = read_answers(tmp_path)["liver"]
    assert len(seven.points) == 7
    assert not seven.complete
    assert "7 points are placed; six are needed: remove 1" in seven.notes[0]


def test_a_box_drawn_in_slicer_gives_the_centres_of_its_faces(tmp_path):
    roi = {
        "type": "ROI",
        "name": "liver",
        "coordinateSystem": "RAS",
        "roiType": "Box",
        "center": [-10, -20, 30],
        "size": [4, 6, 8],
        "controlPoints": [{"label": "R", "position": [-10, -20, 30]}],
    }
    write_json(tmp_path / POINTS_FILE, {"markups": [roi]})
    marks = read_answers(tmp_path)["liver"]
    assert marks.complete
    assert marks.box == Box((8, 17, 26), (12, 23, 34))


def test_points_win_over_absence_and_numbers_over_nothing(tmp_path):
    write_answers(tmp_path, {"liver": StructureMarks(absent=True), "spleen": LIVER})
    data = content(tmp_path)
    data["markups"].append({**copy.deepcopy(data["markups"][1]), "name": "liver"})
    data["markups"][1]["controlPoints"][2]["position"] = [float("nan")] * 3
    (tmp_path / POINTS_FILE).write_text(json.dumps(data))
    found = read_answers(tmp_path)
    assert found["liver"] == LIVER
    assert found["spleen"].missing == ("y-",)
