"""Results of a small run, and their page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medlsam.batch import segment_folder
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.viewer.view_routes import view_page
from tests.support.fakes.stub_model import draw_ct, stub_model, template_set
from tests.support.served import Client, served

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over two scans and one that fails; the second lacks a structure, and names want to be code."""
    folder = tmp_path_factory.mktemp("run")
    for name, without in (("a", []), ("b & <b>", ["plate"])):
        write_volume(draw_ct(GRID, without=without), folder / "in" / f"{name}.nrrd")
    (folder / "in" / "c<img src=x>.nrrd").write_text("no image")
    with pytest.MonkeyPatch.context() as patch:
        segment_folder(stub_model(patch), template_set(), folder / "in", folder / "out", report=False)
    return folder / "out"


@pytest.fixture(scope="session")
def page(results: Path) -> Iterator[Client]:
    with served([*view_page(results).routes()]) as client:
        yield client
