"""Calls of the command line in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.geometry import Grid

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def usual(template: Path, scans: Path, output: Path) -> list[object]:
    return ["--support", template, "--images", scans, "--output", output]


def document(result: Any) -> Any:
    """The one JSON document; fails where anything else is on standard output."""
    return json.loads(result.stdout)
