"""Few templates on abdominal organs: the parts that need no scan, and the whole on scans with known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.common import SeenOnce
from benchmarks.localize.body import lung_masks, tables
from benchmarks.localize.body.body_fewshot import by_way
from benchmarks.localize.body.cases import Finding, Patient, draws, leave_one_out, only
from benchmarks.localize.body.phases import lattice, phase_places
from medlsam.geometry import Box, Grid, mask_box
from medlsam.volume import Image
from tests.support.fakes.fake_localizer import NAMES, labelled

RIGHT = Finding("1", "q", "liver", ("a",), False, "found", 0.9, False, 0.8, (1.0,) * 6, (2.0,) * 6, 3.0)
FAR = replace(
    RIGHT, query="r", status="found", confidence=0.5, iou=0.0, faces_mm=(-30.0,) * 6, center_mm=52.0
)
MISSED = replace(FAR, status="missing", confidence=0.1, iou=0.1)
CUT = Finding("1", "s", "liver", ("a",), False, "uncertain", 0.3, cut=True)


def patient(name: str, shift: tuple[float, float, float], cut: tuple[str, ...] = ()) -> Patient:
    scan = labelled(name, shift, without=[value for value, own in NAMES.items() if own in cut])
    assert scan.labels is not None
    boxes = {
        own: mask_box(scan.labels.array == value, scan.labels.grid)
        for value, own in NAMES.items()
        if own not in cut
    }
    return Patient(name, scan, boxes, cut, Path(name), Path(name))


def test_draws_are_different_subsets_and_the_same_for_the_same_seed() -> None:
    assert draws("abc", 1, 4, "x") == [("a",), ("b",), ("c",)]
    assert draws("abc", 4, 4, "x") == []
    some = draws("abcdefgh", 2, 4, "x")
    assert len(set(some)) == 4
    assert some == draws("abcdefgh", 2, 4, "x")
    assert some != draws("abcdefgh", 2, 4, "y")


def test_draws_of_one_pair_count_as_one() -> None:
    figures = tables.box_figures([RIGHT, replace(RIGHT, iou=0.6), FAR, CUT])
    assert figures["answers"] == 3
    assert figures["iou"] == pytest.approx([0.7, 0.0])
    assert figures["wall"] == [1.0, 30.0]
    assert figures["faces"] == [[1.0, 30.0]] * 6, "absolute errors"


def test_statuses_margins_and_confidence() -> None:
    result = tables.reliability([RIGHT, FAR, MISSED, CUT])
    assert result["present"] == {"found": 2, "uncertain": 0, "missing": 1, "out_of_view": 0}
    assert result["cut"]["uncertain"] == 1
    assert (result["far"], result["far_found"]) == (2, 1)
    assert (result["faces_within"], result["faces"]) == (6, 12), "a missing structure promises nothing"
    assert result["rank"] == pytest.approx(0.5)
    assert tables.reliability([RIGHT, FAR])["rank"] is None
    assert MISSED.scored_iou == 0.0
    json.dumps(CUT.to_dict(), allow_nan=False)


def test_tables_say_how_many_and_how_far() -> None:
    first = tables.answers_table("t", [RIGHT, FAR, CUT])
    assert first.row_count == 4, "two answers, mean and spread; what is cut off has no box"
    boxes = tables.boxes_table("t", {"1": [RIGHT, FAR]}, ["liver", "spleen"])
    assert list(boxes.columns[4].cells) == ["0.40 ±0.57"] * 2
    status = tables.status_table("t", {"1": [RIGHT, FAR, CUT]})
    assert next(iter(status.columns[5].cells)) == "1 of 1"
    row = {"organ": "liver", "iou": "0.5", "wall_distance_mm": "", "dice_located": "0.7"}
    row |= {f"dice_{name}": "0.9" for name in ("oracle_box", "oracle_slices", "shape_prior")}
    dice = tables.dice_table("t", [row], ["liver"])
    assert list(dice.columns[3].cells) == ["–"] * 2
    assert list(dice.columns[4].cells) == ["0.70"] * 2, "one value has no spread"


def test_known_answers(localizer: SeenOnce) -> None:
    shifts = {"a": (0.0, 0.0, 0.0), "b": (20.0, 4.0, -8.0), "c": (-12.0, 8.0, 0.0)}
    patients = [patient(name, shift) for name, shift in shifts.items()]
    patients.append(patient("d", (8.0, 0.0, 4.0), cut=("lung_right",)))
    groups = by_way(leave_one_out(localizer, patients, NAMES, [1, 2, 4], most=1))
    assert localizer.passes == 4, "each scan is embedded once"
    assert {way: len(own) for way, own in groups.items()} == {"1": 8, "2": 8, "all": 8}
    cut = [f for f in groups["all"] if f.cut]
    assert [(f.query, f.structure, f.faces_mm) for f in cut] == [("d", "lung_right", ())]
    assert all(f.wall_mm < 6 and f.iou > 0.7 for f in groups["all"] if not f.cut)
    assert not any(f.calibrated for f in groups["1"])
    assert all(f.calibrated for f in groups["all"])
    assert all(f.query not in f.templates for own in groups.values() for f in own)
    lone = only(patients[0].scan, 2)
    assert lone.labels is not None
    assert np.unique(lone.labels.array).tolist() == [0, 2]


def test_places_lie_in_the_body_away_from_the_edges(localizer: SeenOnce) -> None:
    hu = np.full((40, 40, 40), -1000, np.int16)
    hu[:, :20] = 0
    image = Image(hu, Grid((40, 40, 40), (5.0, 5.0, 5.0)))
    view = image.grid.box
    places = lattice(image, [view, Box((view.min[0] + 50, *view.min[1:]), view.max)])
    assert len(places)
    assert places[:, 0].min() == view.min[0] + 74
    assert places[:, 2].max() <= view.max[2] - 24
    assert places[:, 1].max() <= 100
    found = phase_places(localizer, {"p": image, "q": Image(hu, image.grid)})
    assert [(m.source, m.target) for m in found] == [("p", "p"), ("p", "q"), ("q", "p"), ("q", "q")]
    assert found[0].distances_mm == found[1].distances_mm, "the same scan twice"


class TestLungMasks:
    GRID = Grid((40, 60, 80), (4.0, 4.0, 4.0))

    def chest(self, bottom: int = 6) -> NDArray[np.int16]:
        """A body with two lungs, a windpipe between them and a hollow table below."""
        hu = np.full(self.GRID.shape_zyx, -1000, np.int16)
        hu[:, 5:45, 5:75] = 0
        hu[:, 50:58, 5:75] = 0
        hu[:, 52:56, 8:72] = -950
        hu[bottom:30, 12:38, 10:35] = hu[8:32, 12:38, 45:70] = -800
        hu[20:, 30:34, 38:42] = -1000
        hu[22, 31, 35:45] = -900  # bronchi: the lungs are one piece of air
        return hu

    def test_left_and_right_without_windpipe_and_table(self) -> None:
        found = lung_masks.lungs(self.chest(), self.GRID)
        above = {name: np.flatnonzero(mask[23:].any(axis=(0, 1))) for name, mask in found.items()}
        assert above["lung_left"][[0, -1]].tolist() == [45, 69], "x grows to the left"
        assert above["lung_right"][[0, -1]].tolist() == [10, 34]
        assert mask_box(found["lung_left"], self.GRID).max == (278.0, 150.0, 126.0)
        assert lung_masks.whole(found)

    def test_a_cut_lung_a_small_one_and_none(self) -> None:
        assert not lung_masks.whole(lung_masks.lungs(self.chest(bottom=0), self.GRID))
        assert not lung_masks.whole(lung_masks.lungs(self.chest(bottom=24), self.GRID))
        assert lung_masks.lungs(np.zeros(self.GRID.shape_zyx, np.int16), self.GRID) == {}
