"""Tables for people."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from medlsam.evaluation.tables import format_tables
from tests.support.fakes.evaluated import Dataset, StubModel, run


def test_the_table_shows_every_structure_and_the_verdict(dataset: Dataset, tmp_path: Path) -> None:
    model = StubModel(shift_mm=2.0, promise_mm=1.0)
    metrics = run(model, dataset(["a"]), tmp_path, compare_search=True)
    console = Console(width=220, record=True, file=io.StringIO())
    for table in format_tables(metrics):
        console.print(table)
    text = console.export_text()
    assert all(word in text for word in ("cube", "bar", "mean", "0.82 ±0.00", "random-start"))
    assert "DOES NOT BEAT" in text, "both fill the same box"
    assert "67 %" in text, "faces within their margin"
    assert "83 %" in text, "faces reached"
    assert "random-start, coarse only" in text
    assert "-2.0, 2.0" in text, "an outward error with its sign and its size"
