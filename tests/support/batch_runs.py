"""Runs over a few scans with the stub model, and what they wrote."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from medlsam.batch import BatchResult, segment_folder
from medlsam.geometry import Grid
from medlsam.pipeline.model import MedLSAM
from tests.support.fakes.stub_model import (
    template_set,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


def segment(model: MedLSAM, scans: Any, output: Path, **more: Any) -> BatchResult:
    templates = more.pop("templates", None) or template_set()
    return segment_folder(model, templates, scans, output, **{"report": False} | more)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "statistics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def everything(output: Path) -> dict[str, int]:
    """Each file's time of change, also of hidden ones, but for the summary."""
    files = [f for f in output.rglob("*") if f.is_file()]
    return {str(f.relative_to(output)): f.stat().st_mtime_ns for f in files if f.parent != output}


def passes(model: MedLSAM) -> int:
    return len(model.segmenter.calls)  # type: ignore[attr-defined]
