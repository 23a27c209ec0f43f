"""The pictures of the README and the pages: small, and drawn anew by the committed scripts."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.web.browser import chromium

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 300_000
FIGURES = ["localization.png", "overview.png", "prompts.png"]
SCREENSHOTS = ["annotate-phone.png", "annotate.png", "view-phone.png", "view.png"]
MOST_BYTES_OF_A_SCREENSHOT = 200_000


def test_committed_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert sorted(sizes) == sorted(FIGURES + SCREENSHOTS)
    assert max(sizes.values()) < MOST_BYTES
    assert max(sizes[name] for name in SCREENSHOTS) < MOST_BYTES_OF_A_SCREENSHOT


def script_of(name: str) -> Any:
    """A script of docs/, as a module."""
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script: Any = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.slow
def test_the_script_draws_them(tmp_path: Path) -> None:
    """On coarse phantoms, which take a third of the time."""
    script = script_of("draw_figures")
    script.BODY = {"spacing_xyz": (6.0, 6.0, 6.0), "region": (270.0, 560.0)}
    script.TEMPLATE_SEEDS = (101, 102)
    script.draw_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FIGURES


@pytest.mark.slow
@pytest.mark.browser
def test_the_screenshots_are_made(tmp_path: Path) -> None:
    """On coarse phantoms; a page that complains or is too wide for the phone raises."""
    chromium()
    script = script_of("draw_screenshots")
    script.BODY = {"spacing_xyz": (6.0, 6.0, 6.0), "region": (300.0, 480.0)}
    script.draw_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == SCREENSHOTS
