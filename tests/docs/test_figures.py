"""The pictures of the README and the pages: small, and drawn anew by the committed script."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 300_000


def test_committed_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert sorted(sizes) == ["localization.png", "overview.png", "prompts.png"]
    assert max(sizes.values()) < MOST_BYTES


@pytest.mark.slow
def test_the_script_draws_them(tmp_path: Path) -> None:
    """On coarse phantoms, which take a third of the time."""
    spec = spec_from_file_location("draw_figures", ROOT / "docs" / "draw_figures.py")
    assert spec is not None
    assert spec.loader is not None
    script: Any = module_from_spec(spec)
    spec.loader.exec_module(script)
    script.BODY = {"spacing_xyz": (6.0, 6.0, 6.0), "region": (270.0, 560.0)}
    script.TEMPLATE_SEEDS = (101, 102)
    script.draw_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in IMAGES.iterdir())
