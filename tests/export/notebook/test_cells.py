"""Results as the last line of a notebook cell."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest

from medlsam.geometry import Grid
from medlsam.pipeline.model import MedLSAM
from medlsam.volume import Source
from tests.support.fakes.stub_model import (
    draw_ct,
    stub_model,
    template_set,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MedLSAM:
    return stub_model(monkeypatch)


def test_results_draw_themselves(model: MedLSAM) -> None:
    image = draw_ct(GRID)
    found = model.segment(replace(image, source=Source(Path("<b>.nii.gz"))), template_set())
    page_of_segmentation = found._repr_html_()
    for page in (page_of_segmentation, found.localization._repr_html_()):
        assert "&lt;b&gt;" in page
        assert "ghost" in page
        assert "missing" in page
        picture = re.search(r'src="data:image/png;base64,([^"]+)"', page)
        assert picture is not None
        assert base64.b64decode(picture[1]).startswith(b"\x89PNG")
        assert "plate</td><td>found</td><td>0.90" in page
    assert "<td>4.4</td>" in page_of_segmentation  # 585 voxels of 7.5 mm3


def test_results_without_the_scan_show_their_table(model: MedLSAM) -> None:
    found = model.segment(draw_ct(GRID), template_set())
    for page in (
        replace(found, image=None)._repr_html_(),
        replace(found.localization, image=None)._repr_html_(),
        model.segment(draw_ct(GRID, without=["block", "plate"]), template_set())._repr_html_(),
    ):
        assert "<table>" in page
        assert "<img" not in page
