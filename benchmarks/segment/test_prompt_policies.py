"""The table of prompt policies: what is asked once, and how rows are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.segment import prompt_policies
from benchmarks.segment.prompt_policies import (
    AskedOnce,
    by_structure,
    gain,
    score_case,
    table,
)
from medlsam.evaluation.references import CaseReference
from medlsam.geometry import Grid
from medlsam.options import InferenceOptions
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.segment.label_map import MaskBlock
from medlsam.segment.prompts import SlicePrompt
from medlsam.volume import LabelMap
from tests.support.fakes.stub_model import StubSegmenter, draw_ct, stub_model, template_set, true_mask

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


def test_the_ways_can_be_named_on_the_command_line() -> None:
    assert next(iter(prompt_policies.WAYS)) == "profile", "the default is what the others are compared with"
    assert not any("," in name for name in prompt_policies.WAYS), "names are given comma-separated"
    assert set(prompt_policies.WHOLE_SLICES_ONLY) < set(prompt_policies.WAYS)


def test_the_same_question_is_asked_once_and_costs_the_same() -> None:
    inner = StubSegmenter()
    asked = AskedOnce(inner)
    image = draw_ct(GRID)
    prompts = {"block": [SlicePrompt(5, (5.0, 6.0, 10.0, 11.0))]}
    first, second = Stopwatch(), Stopwatch()
    found = asked.segment(image, prompts, stopwatch=first)
    again = asked.segment(image, prompts, stopwatch=second)
    assert len(inner.calls) == 1
    assert first.seconds == second.seconds
    assert again["block"] is found["block"]
    asked.segment(image, prompts, mask_prompts=found)
    rough = MaskBlock((5, 6, 5), np.full((1, 2, 2), 0.3, np.float32))
    asked.segment(image, prompts, mask_prompts={"block": rough})
    asked.segment(image, {"block": [SlicePrompt(6, (5.0, 6.0, 10.0, 11.0))]})
    assert len(inner.calls) == 4, "another box or another mask prompt is another question"


def test_every_policy_is_scored_on_the_same_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stub_model(monkeypatch)
    image = draw_ct(GRID)
    located = model.localize(image, template_set(), slabs=True)
    labels = np.where(true_mask(image, "block"), 1, 0).astype(np.uint8)
    place: Any = (slice(4, 9), slice(6, 12), slice(5, 11))
    reference = CaseReference(LabelMap(labels, image.grid), {"block": 1}, {"block": place})
    ways = {
        "wpl": InferenceOptions.of(prompts="wpl", propagate=False),
        "half": InferenceOptions.of(prompts="wpl", margin_mm=0, shrink=0.5, propagate=False),
        "all": InferenceOptions.of(prompts="wpl", propagate=False),
    }
    figures, seconds = score_case(model, image, located, reference, ways)
    assert figures["wpl"] == figures["all"] == {"block": 1.0}
    # 6 x 6 pixels shrink to 3 x 3 in each slice
    assert figures["half"]["block"] == pytest.approx(2 * 9 / (36 + 9))
    assert set(seconds) == set(ways)
    assert len(model.segmenter.calls) == 2  # type: ignore[attr-defined]


def test_rows_are_compared_case_by_case() -> None:
    scores = {
        "one": {"first": {"a": 0.5, "b": 0.7}, "other": {"a": 0.6, "b": 0.8}},
        "two": {"first": {"a": 0.2}, "other": {"a": 0.5}},
    }
    assert by_structure(scores, "other") == {"a": [0.6, 0.5], "b": [0.8]}
    mean, error = gain(scores, "other", "first")
    assert mean == pytest.approx(0.2)
    assert error == pytest.approx(np.std([0.1, 0.3], ddof=1) / np.sqrt(2))
    seconds = {case: {"first": 1.0, "other": 2.0} for case in scores}
    found = table("title", scores, seconds, ["a", "b"])
    cells = [list(column.cells) for column in found.columns]
    assert cells[0] == ["first", "other"]
    assert cells[1] == ["0.350", "0.550"]
    assert cells[-2] == ["", "+0.200 ±0.100"]
    assert cells[-1] == ["1.0", "2.0"]
