"""Extreme points drawn in 3D Slicer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medlsam.errors import TemplateError
from medlsam.geometry import Box
from medlsam.io.labelled_scans import find_templates
from medlsam.io.slicer_markups import read_markups
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
