"""The bar over the scans of a run, and the lines in its place."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from medlsam.batch import Progress
from medlsam.batch.output import CaseRecord
from medlsam.cli.progress import case_bar, scan_line


def shown(*reports: Progress) -> str:
    """What a terminal gets; each scan takes 30 seconds."""
    now = [0.0]
    console = Console(file=io.StringIO(), force_terminal=True, width=200, highlight=False)
    with case_bar(console) as bar:
        bar.pace._clock = lambda: now[0]
        for report in reports:
            bar.scan(report)
            bar._progress.refresh()
            now[0] += 30 if report.status == "running" else 0
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_bar_tells_the_time_left() -> None:
    text = shown(
        Progress("a", "skipped", 1, 5),
        Progress("b", "running", 1, 5),
        Progress("b", "done", 2, 5),
    )
    assert "2/5" in text
    # One scan was done before and takes no part.
    assert "30.0 s a scan, 1:30 left" in text


def test_a_scan_that_fails_gets_a_line() -> None:
    text = shown(Progress("[b]", "running", 0, 2), Progress("[b]", "failed", 1, 2, "VolumeError: no"))
    assert "[b]: VolumeError: no" in text


def test_a_line_names_stages_and_statuses(tmp_path: Path) -> None:
    organs = {
        "liver": {"status": "found", "confidence": 0.931},
        "spleen": {"status": "missing", "confidence": 0.1},
    }
    (tmp_path / "localization.json").write_text(json.dumps({"organs": organs}))
    record = CaseRecord("a.nii.gz", "done", {"read": 0.31, "embed": 2.0}, ("cut",))
    assert scan_line(Progress("a", "done", 3, 40, None, record, tmp_path), "2.0 s a scan") == (
        "3 of 40: a done in 2.3 s (read 0.3, embed 2.0): liver found 0.93, spleen missing 0.10; 2.0 s a scan"
    )
    (tmp_path / "localization.json").write_text("{")
    assert scan_line(Progress("a", "done", 3, 40, None, record, tmp_path), "") == (
        "3 of 40: a done in 2.3 s (read 0.3, embed 2.0)"
    )
    assert (
        scan_line(Progress("b", "failed", 4, 40, "VolumeError: no"), "")
        == "4 of 40: b failed: VolumeError: no"
    )
