"""Marks of three kinds, from three kinds of files; a bad one is named and the others are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.errors import GeometryError, UsageError
from medlsam.geometry import Grid
from medlsam.lesion.propagate.prompts import LesionPrompt, read_prompts
from medlsam.volume import Image, Source

GRID = Grid((13, 40, 50), (0.5, 0.5, 5.0), (10.0, 20.0, -60.0))
SCAN = Image(np.zeros(GRID.shape_zyx, np.int16), GRID)
BOX = {"min": [1.0, 2.0, 5.0], "max": [4.0, 6.0, 5.0]}
LONG = [[0.0, 0.0, 3.0], [10.0, 0.0, 3.0]]


def ours(path: Path, *entries: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"lesions": entries, **more}))
    return path


def test_our_file_holds_boxes_diameters_and_points(tmp_path: Path) -> None:
    read = read_prompts(
        ours(
            tmp_path / "a.json",
            {"name": "cyst", "type": "liver cyst", "box": BOX, "outside": [[0, 0, 5]]},
            {"long": LONG, "short": [[5, -2, 3], [5, 3, 3]]},
            {"name": "node", "point": [7, 8, 9]},
            coordinate_system="LPS",
            units="mm",
        ),
        SCAN,
    )
    cyst, second, node = read.lesions
    assert not read.bad
    assert (cyst.kind, cyst.z_mm, cyst.type, cyst.outside) == ("box", 5.0, "liver cyst", ((0.0, 0.0, 5.0),))
    assert (second.name, second.kind, second.z_mm) == ("lesion 2", "recist", 3.0)
    assert (node.kind, node.z_mm) == ("point", 9.0)
    again = read_prompts(ours(tmp_path / "b.json", *(own.to_dict() for own in read.lesions)), SCAN)
    assert again.lesions == read.lesions, "what is written is read"


def test_a_bad_entry_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bad = [
        {"name": "nothing"},
        {"name": "flat", "box": {"min": [1, 2, 3], "max": [1, 6, 3]}},
        {"name": "tilted", "long": [[0, 0, 0], [0, 9, 9]]},
        {"name": "short only", "short": LONG, "point": [0, 0, 0]},
        {"name": "text", "point": ["a", 0, 0]},
        {"name": "spelt", "bocks": BOX},
        {"name": "nan", "point": [0, float("nan"), 0]},
        {"name": "length", "long": [[1, 1, 1], [1, 1, 1]]},
        "no object",
    ]
    read = read_prompts(ours(tmp_path / "a.json", *bad, {"name": "good", "box": BOX}), SCAN)
    assert [own.name for own in read.lesions] == ["good"]
    words = {
        "nothing": "one of them is needed",
        "flat": "no extent",
        "tilted": "draw them in one axial slice",
        "short only": "without the long one",
        "text": "could not convert",
        "spelt": "unknown key bocks",
        "nan": "must be finite",
        "length": "no length",
        "lesion 9": "an entry is an object",
    }
    assert set(read.bad) == set(words)
    for name, text in words.items():
        assert text in read.bad[name]
    twice = read_prompts(ours(tmp_path / "b.json", *[{"name": "a", "box": BOX}] * 2), SCAN)
    assert "two lesions have this name" in twice.bad["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "not JSON"),
        ('{"other": 1}', "no prompts"),
        ('{"lesions": []}', "holds no lesion"),
        ('{"lesions": [{"point": [0,0,0]}], "coordinate_system": "RAS"}', "prompts are in LPS mm"),
        ('{"lesions": [{"point": [0,0,0]}], "coordinateSystem": "RAS"}', "unknown key coordinateSystem"),
    ],
)
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        read_prompts(tmp_path / "a.json", SCAN)
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "absent.json", SCAN)


def control(*position: float, label: str = "") -> dict[str, Any]:
    return {"label": label, "position": list(position), "positionStatus": "defined"}


def test_slicers_rois_lines_and_points(tmp_path: Path) -> None:
    node = {"coordinateSystem": "RAS", "coordinateUnits": "mm"}
    roi = {"type": "ROI", "name": "a", "roiType": "Box", "center": [0, 0, 5], "size": [10, 20, 3], **node}
    long = {"type": "Line", "name": "b long", "controlPoints": [control(0, 0, 1), control(30, 0, 1)], **node}
    short = {
        "type": "Line",
        "name": "b short",
        "controlPoints": [control(9, 4, 1), control(9, -4, 1)],
        **node,
    }
    alone = {"type": "Line", "name": "c", "controlPoints": [control(0, 0, 1), control(0, 8, 1)], **node}
    points = {
        "type": "Fiducial",
        "controlPoints": [control(1, 2, 3, label="d"), control(4, 5, 6, label="d")],
        **node,
    }
    path = tmp_path / "marks.mrk.json"
    path.write_text(json.dumps({"markups": [roi, short, long, alone, points]}))
    read = {own.name: own for own in read_prompts(path, SCAN).lesions}
    assert set(read) == {"a", "b", "c", "d", "d (2)"}
    assert read["a"].box is not None
    assert (read["a"].box.size, read["a"].z_mm) == ((10.0, 20.0, 3.0), 5.0)
    assert read["b"].long == ((0.0, 0.0, 1.0), (-30.0, 0.0, 1.0)), "the longer one, in LPS"
    assert read["b"].short == ((-9.0, -4.0, 1.0), (-9.0, 4.0, 1.0))
    assert read["c"].short is None
    assert read["d"].point == (-1.0, -2.0, 3.0)
    path.write_text(json.dumps({"markups": [{**long, "name": "x"}] * 3 + [roi]}))
    three = read_prompts(path, SCAN)
    assert "3 lines" in three.bad["x"]
    assert [own.name for own in three.lesions] == ["a"]


def test_a_bad_mark_of_slicers_costs_no_other(tmp_path: Path) -> None:
    def line(name: str, *ends: dict[str, Any]) -> dict[str, Any]:
        return {"type": "Line", "name": name, "controlPoints": [*ends]}

    ends = control(0, 0, 1), control(30, 0, 1)
    nowhere = {"label": "lost", "position": "", "positionStatus": "undefined"}
    hovering = {"label": "mouse", "position": "", "positionStatus": "preview"}
    path = tmp_path / "marks.mrk.json"
    nodes = [
        line("half", control(0, 0, 1)),
        {"type": "Angle", "name": "angle", "controlPoints": []},
        {"type": "ROI", "name": "no size"},
        {"type": "Fiducial", "controlPoints": [control(1, 2, 3, label="good"), nowhere, hovering]},
        "no node",
        line("whole", *ends),
    ]
    path.write_text(json.dumps({"markups": nodes}))
    read = read_prompts(path, SCAN)
    assert [own.name for own in read.lesions] == ["good", "whole"]
    assert set(read.bad) == {"half", "angle", "no size", "lost", "node 5"}
    assert "1 placed points; it needs two" in read.bad["half"]
    assert "is a Angle; draw a Line" in read.bad["angle"]
    assert "not placed" in read.bad["lost"]


def test_only_words_tell_the_lines_of_a_pair_apart(tmp_path: Path) -> None:
    def lines(*names: str) -> set[str]:
        nodes = [
            {"type": "Line", "name": name, "controlPoints": [control(0, 0, 1), control(9 + n, 0, 1)]}
            for n, name in enumerate(names)
        ]
        (tmp_path / "marks.mrk.json").write_text(json.dumps({"markups": nodes}))
        read = read_prompts(tmp_path / "marks.mrk.json", SCAN)
        assert not read.bad
        return {own.name for own in read.lesions}

    assert lines("kidney L", "kidney S", "nodules", "headlong") == {
        "kidney L",
        "kidney S",
        "nodules",
        "headlong",
    }
    assert lines("node-Long", "node_short") == {"node"}
    assert lines("long", "short") == {"lesion"}


HEAD = "File_name,Measurement_coordinates,Bounding_boxes,Spacing_mm_px_,Coarse_lesion_type"
SPACING = '"0.500001, 0.500001, -5"'
ROWS = [
    f'000001_01_01_109.png,"10, 12, 30, 12, 20, 8, 20, 16","5, 3, 35, 21",{SPACING},4',
    f'000001_01_01_104.png,"10, 12, 30, 12, 20, 8, 20, 16","5, 3, 35, 21",{SPACING},-1',
    f'000001_01_01_090.png,"1, 1, 3, 1, 2, 0, 2, 2","0, 0, 9, 9",{SPACING},1',
    f'000001_01_01_110.png,"1, 1, x, 1","0, 0, 9, 9",{SPACING},1',
    f'000002_01_01_109.png,"1, 1, 3, 1, 2, 0, 2, 2","0, 0, 9, 9",{SPACING},1',
    '000001_01_01_111.png,"1, 1, 3, 1, 2, 0, 2, 2","0, 0, 9, 9","0.8, 0.8, 5",1',
    "000001_01_01_112.png",
    "nameless",
]


def deeplesion(tmp_path: Path, name: str = "000001_01_01_103-115.nii.gz") -> tuple[Path, Image]:
    table = tmp_path / "DL_info.csv"
    table.write_text("\n".join([HEAD, *ROWS]) + "\n")
    # as the data set's own script stores it: i runs along rows, j along columns, k to the feet
    stored = Grid((13, 50, 40), (0.5, 0.5, 5.0), (10.0, 20.0, 0.0), (0, 1, 0, 1, 0, 0, 0, 0, -1))
    return table, Image(np.zeros(stored.shape_zyx, np.int16), stored, Source(Path(name)))


def test_deeplesions_pixels_become_millimetres(tmp_path: Path) -> None:
    read = read_prompts(*deeplesion(tmp_path))
    first, second = read.lesions
    assert {name[-5:]: text for name, text in read.bad.items()}.keys() == {"110_3", "111_4", "112_5"}
    assert "row 5: Measurement_coordinates: 8 numbers are needed" in read.bad["000001_01_01_110_3"]
    assert "pixels of 0.8 x 0.8 mm, but the scan's have 0.5 x 0.5 mm" in read.bad["000001_01_01_111_4"]
    assert (first.name, first.type, first.kind) == ("000001_01_01_109_1", "liver", "recist")
    # slice 109 is the seventh from the head, 5 mm apart; the tenth column is 4.5 mm to the left of the first
    assert first.long == ((14.5, 25.5, -30.0), (24.5, 25.5, -30.0))
    assert first.short == ((19.5, 23.5, -30.0), (19.5, 27.5, -30.0))
    assert (second.type, second.z_mm) == ("", -5.0)


def test_deeplesions_table_needs_the_volumes_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a scan named"):
        read_prompts(*deeplesion(tmp_path, "scan.nii.gz"))
    with pytest.raises(UsageError, match="no lesion of series 000009_01_01"):
        read_prompts(*deeplesion(tmp_path, "000009_01_01_103-115.nii.gz"))
    with pytest.raises(GeometryError, match="slices 103 to 120, but it holds 13"):
        read_prompts(*deeplesion(tmp_path, "000001_01_01_103-120.nii.gz"))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="column .* is missing: this is not DeepLesion's table"):
        read_prompts(tmp_path / "other.csv", SCAN)


def test_a_prompt_says_what_it_lacks() -> None:
    with pytest.raises(UsageError, match="one of them is needed"):
        LesionPrompt("a")
