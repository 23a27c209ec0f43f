"""Structures that are not in the scan: crops, phantoms, and the shares of each status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import SeenOnce
from benchmarks.localize.body import lungs
from benchmarks.localize.status import absent, answers, crops
from medlsam.geometry import Box
from tests.support.fakes.fake_localizer import labelled


class TestAbsent:
    def test_heights_are_kept_in_place(self) -> None:
        volume = labelled("a", (0, 0, 0)).image
        kept = crops.keep_heights(volume, -20.0, 30.0)
        assert kept.grid.box.min[2] == pytest.approx(-20.0)
        assert kept.grid.box.max[2] == pytest.approx(32.0)
        k = round(float(volume.grid.lps_to_ijk(kept.grid.origin_xyz)[2]))
        assert np.array_equal(kept.array[0], volume.array[k])

    def test_what_a_crop_makes_of_each_structure(self) -> None:
        volume = labelled("a", (0, 0, 0)).image
        boxes = {"low": Box((0, 0, -110), (10, 10, -80)), "high": Box((0, 0, 60), (10, 10, 100))}
        found = {crop.name: crop for crop in crops.crops(volume, boxes, ["high", "low", "nowhere"])}
        assert set(found) == {"without high", "half of high", "without low", "half of low"}
        assert found["without high"].truth == {"high": "absent", "low": "present"}
        assert found["without high"].volume.grid.box.max[2] <= 60 - crops.GAP_MM + 4
        assert found["half of high"].truth == {"high": "halved", "low": "present"}
        assert found["without low"].volume.grid.box.min[2] >= -80 + crops.GAP_MM - 4
        tall = {"tall": Box((0, 0, -70), (10, 10, 70))}
        assert [crop.name for crop in crops.crops(volume, tall, ["tall"])] == ["half of tall"], (
            "too little is left"
        )

    def test_phantoms_lack_the_organ_that_was_removed(self, localizer: SeenOnce) -> None:
        regions = {"neck": ((630.0, 820.0), ("mandible", "larynx"))}
        found = absent.phantom_answers(localizer, [5], regions, templates=(1,), spacing_mm=6.0)
        removed = {a.structure: a for a in found if a.truth == "absent"}
        assert set(removed) == {"mandible", "larynx"}
        assert removed["larynx"].scan == "person 5 without larynx"
        assert "thyroid" in {a.structure for a in found if a.truth == "present"}
        assert not {"spinal_cord", "vertebrae"} & {a.structure for a in found}, "both are cut by the ends"

    def test_shares_by_hand(self) -> None:
        def said(truth: str, status: str, group: str = "real") -> answers.Answer:
            return answers.Answer(group, "scan", "organ", truth, status, 0.5)

        given = [
            *(said("absent", status) for status in ("missing", "out_of_view", "uncertain", "found")),
            said("absent", "missing", "phantom, head"),
            said("present", "missing"),
            said("present", "found"),
            said("halved", "found"),
        ]
        result = answers.summary(given)
        assert list(result["groups"]) == [
            "absent: real",
            "absent: phantom, head",
            "halved: real",
            "present: real",
        ]
        assert result["groups"]["absent: real"] == {
            **dict.fromkeys(answers.STATUSES, 0.25),
            "n": 4,
            "not_there": 0.5,
        }
        assert result["in_all"]["absent"]["not_there"] == pytest.approx(0.6)
        assert result["in_all"]["absent, phantoms"] == {**_none_but(missing=1.0), "n": 1, "not_there": 1.0}
        assert result["in_all"]["present"]["not_there"] == 0.5
        assert result["in_all"]["present, phantoms"]["not_there"] is None
        assert len(answers.tables(result)) == 2


def _none_but(**shares: float) -> dict[str, float]:
    return dict.fromkeys(answers.STATUSES, 0.0) | shares


@pytest.mark.realdata
def test_what_is_said_of_the_real_scans_is_there(real_ct: Path) -> None:
    body = real_ct / "body"
    scans = {path.name for path in body.iterdir()}
    assert {*absent.WITHOUT_HEAD_NECK, *absent.WITHOUT_PELVIS, *lungs.CHEST, *lungs.ONE_LUNG} <= scans
    names = set(json.loads((body / absent.ABDOMEN_TEMPLATE / "labels.json").read_text()))
    assert {*absent.ABDOMINAL, *absent.PELVIC} <= names
    assert set(absent.BOUNDED) <= set(
        json.loads((real_ct / "openkbp" / "dataset.json").read_text())["labels"]
    )
