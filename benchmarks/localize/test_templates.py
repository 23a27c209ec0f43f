"""How many templates, and how far faces follow the probe, on scans where every answer is known."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common import SeenOnce
from benchmarks.localize import reach, template_count
from medlsam.evaluation.references import find_references
from medlsam.geometry import Box
from medlsam.io.cases import find_cases
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import build_templates
from tests.support.fakes.fake_localizer import NAMES, PLACES, FakeLocalizer, labelled


class TestTemplateCount:
    def test_every_template_is_in_as_many_sets_as_any_other(self) -> None:
        items = ["a", "b", "c", "d", "e"]
        assert template_count.windows(items, 5) == [tuple(items)]
        threes = template_count.windows(items, 3)
        assert len(threes) == len({frozenset(chosen) for chosen in threes}) == 5
        assert all(sum(item in chosen for chosen in threes) == 3 for item in items)

    def test_known_answers(self, localizer: SeenOnce, tmp_path: Path) -> None:
        for name, shift in (("q", (8.0, -4.0, 12.0)), ("r", (-12.0, 8.0, 0.0))):
            query = labelled(name, shift)
            assert query.labels is not None
            write_volume(query.image, tmp_path / "scans" / f"{name}.nii.gz")
            write_volume(query.labels, tmp_path / "labels" / f"{name}.nii.gz")
        templates = [labelled("a", (0, 0, 0)), labelled("b", (20, 4, -8))]
        sets = template_count.build_sets(localizer, templates, NAMES, [1, 2])
        assert {count: len(own) for count, own in sets.items()} == {1: 2, 2: 1}
        assert localizer.passes == 2, "every template is embedded once for all sets"
        references = find_references(tmp_path / "labels", NAMES)
        scores = template_count.measure(localizer, sets, find_cases(tmp_path / "scans"), references)
        result = template_count.summary(scores, list(NAMES.values()))
        for count in ("1", "2"):
            assert result[count]["organs"]["lung_left"]["n"] == 2
            assert result[count]["mean"]["wall_distance_mm"]["mean"] < 6.0
        assert result["1"]["mean"]["iou"]["n"] == 2, "over two sets"
        assert len(template_count.tables(result, 2)) == 1


def test_every_way_to_reach_is_scored_on_the_same_templates() -> None:
    localizer = FakeLocalizer()
    scans = [labelled(name, (shift, 0.0, 0.0)) for name, shift in (("a", 0.0), ("b", 20.0))]
    templates = build_templates(localizer, scans, NAMES)  # type: ignore[arg-type]
    fixed = reach.with_reach(templates, ("strong", "none", "gentle"))
    assert {c.probe_trust for c in fixed.calibration.values()} == {("strong", "none", "gentle")}
    assert reach.with_reach(templates, None) is templates
    scores: reach.Scores = {}
    low, high = PLACES[1]
    reach.add_scores(scores, localizer.embed(scans[0].image), templates, {"lung_left": Box(low, high)})
    assert set(scores) == set(reach.WAYS)
    assert reach.mean(scores["none"])[0] > 0.8
