"""Lungs and abdomen, on scans where every answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common import SeenOnce
from benchmarks.localize.body import abdomen, lungs
from medlsam.geometry import Box
from medlsam.localize.build_templates import build_templates
from medlsam.results import LocatedStructure
from tests.support.fakes.fake_localizer import NAMES, PLACES, labelled


class TestLungs:
    def test_sets_are_of_other_patients_that_hold_the_structure_whole(self) -> None:
        first, second = lungs.ONE_LUNG
        whole = {
            "a": {"lung_right"},
            "b": {"lung_right"},
            first: {"lung_right"},
            second: {"lung_right"},
            "c": set(),
        }
        assert lungs.template_sets(first, "lung_right", whole, 2, 0) == [("a", "b")]
        sets = lungs.template_sets("a", "lung_right", whole, 2, 0)
        assert sets == [("b", first), ("b", second)], "not both scans of one patient"
        assert lungs.template_sets("a", "lung_right", whole, 2, 1) in ([sets[0]], [sets[1]])

    def test_known_answers(self, localizer: SeenOnce) -> None:
        scans = [
            labelled(name, (8.0 * i, -4.0 * i, 4.0 * i)) for i, name in enumerate((lungs.UNSEEN, "b", "c"))
        ]
        cut = labelled("d", (0, 0, 0))
        assert cut.labels is not None
        cut.labels.array[:30] = cut.labels.array[30]
        trials = lungs.measure(localizer, [*scans, cut], NAMES, ["lung_left"])
        assert {(t.scan, t.group) for t in trials} == {
            (lungs.UNSEEN, "chest"),
            ("b", "chest"),
            ("c", "chest"),
            ("d", "cut"),
        }
        assert len(trials) == 3 + 3, "one pair of the two other whole ones; three pairs for the cut one"
        assert all("d" not in t.templates and t.scan not in t.templates for t in trials)
        assert min(t.iou for t in trials if t.group == "chest") > 0.6
        result = lungs.summary(trials)
        assert result["chest"]["n"] == 3
        assert result[lungs.UNSEEN]["n"] == 1
        assert len(lungs.tables(trials, result, 2)) == 2


class TestAbdomen:
    def test_the_part_in_view_is_compared_and_drawn(self, tmp_path: Path, localizer: SeenOnce) -> None:
        names = {1: "liver", 2: "spleen", 3: "aorta"}
        template = labelled("slab", (0, 0, 0))
        (low, high), (far_low, far_high) = PLACES[1], PLACES[2]
        assert template.labels is not None
        found = {
            "liver": LocatedStructure("liver", "found", 0.9, box=Box(low, high)),
            "spleen": LocatedStructure("spleen", "missing", 0.1, box=Box(far_low, (*far_high[:2], 400.0))),
            "aorta": LocatedStructure("aorta", "found", 0.9, box=Box((0, 0, 0), (10, 10, 10))),
        }
        rows = {row["organ"]: row for row in abdomen.compare(found, template, names)}
        assert set(rows) == {"liver", "spleen"}, "the aorta is not labelled"
        assert rows["liver"]["iou"] > 0.8
        # What lies above the scan is left out: 40 of 128 - 44 mm in z remain to be missed.
        assert rows["spleen"]["iou"] == pytest.approx(84 / 172, abs=0.05)
        assert rows["spleen"]["status"] == "missing"
        assert abdomen.statuses(found, ["liver", "spleen"])["missing"] == ["spleen"]
        templates = build_templates(localizer, [template], names)  # type: ignore[arg-type]
        del found["aorta"]
        written = abdomen.pictures(tmp_path, "slab", template.image, found, templates, template.labels)
        assert [path.name for path in written] == ["slab.png", "slab_organs.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
