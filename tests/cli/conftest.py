"""A stub model, its templates, and two scans with their labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.io.write import write_volume
from medlsam.options import InferenceOptions
from medlsam.pipeline.model import MedLSAM
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import LabelMap
from tests.support.command_line import GRID
from tests.support.fakes.stub_model import VALUES, draw_ct, stub_model, template_set, true_mask


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What ``load`` was called with; it gives the stub model."""
    calls: list[tuple[str, str, str]] = []
    model = stub_model(monkeypatch)
    timed = model.segmenter.segment

    def segment(volume: Any, prompts: Any, stopwatch: Any = None, mask_prompts: Any = None) -> Any:
        # A structure is asked for under several names ("block/oracle_box/+1"); the stub knows it by one.
        blocks = {}
        for key, own in prompts.items():
            (name,) = (part for part in key.split("/") if part in ("block", "plate", "ghost"))
            blocks[key] = timed(volume, {name: own}, stopwatch=stopwatch or Stopwatch())[name]
        return blocks

    monkeypatch.setattr(model.segmenter, "segment", segment)

    def load(options: InferenceOptions) -> MedLSAM:
        calls.append((options.localizer, options.segmenter, options.device))
        model.options = options
        return model

    monkeypatch.setattr("medlsam.pipeline.model.load", load)
    return calls


@pytest.fixture
def template(tmp_path: Path) -> Path:
    template_set().save(tmp_path / "support.medlsam")
    return tmp_path / "support.medlsam"


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_volume(draw_ct(GRID), tmp_path / "scans" / f"{name}_0000.nii.gz")
    return tmp_path / "scans"


@pytest.fixture
def labels(scans: Path, tmp_path: Path) -> Path:
    """True labels of both scans."""
    scan = draw_ct(GRID)
    array = np.zeros(GRID.shape_zyx, np.uint8)
    for name in ("block", "plate"):
        array[true_mask(scan, name)] = VALUES[name]
    for name in ("a", "b"):
        write_volume(LabelMap(array, GRID), tmp_path / "labels" / f"{name}.nii.gz")
    (tmp_path / "labels" / "labels.json").write_text(json.dumps({"block": 1, "plate": 7}))
    return tmp_path / "labels"
