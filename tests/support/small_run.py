"""A run over two small scans and one that fails, with names that want to be code."""

from __future__ import annotations

from pathlib import Path

import pytest

from medlsam.batch import segment_folder
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from tests.support.fakes.stub_model import draw_ct, stub_model, template_set

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


def small_run(folder: Path) -> Path:
    """Segment ``in`` to ``out``: ``a``, ``b & <b>`` without a plate, and a file that is no image."""
    for name, without in (("a", []), ("b & <b>", ["plate"])):
        write_volume(draw_ct(GRID, without=without), folder / "in" / f"{name}.nrrd")
    (folder / "in" / "c<img src=x>.nrrd").write_text("no image")
    with pytest.MonkeyPatch.context() as patch:
        segment_folder(stub_model(patch), template_set(), folder / "in", folder / "out", report=False)
    return folder / "out"
