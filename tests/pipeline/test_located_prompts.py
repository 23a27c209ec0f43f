"""Boxes of located structures as prompts for a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import medlsam.pipeline.model
from medlsam.cli import app
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.pipeline.located_prompts import located_prompts
from medlsam.pipeline.model import MedLSAM
from medlsam.segment.distill import run
from medlsam.volume import to_canonical
from tests.support.data.tuning_data import write_tiny
from tests.support.fakes.fake_teacher import FakeTeacher
from tests.support.fakes.stub_model import draw_ct, template_set, true_mask

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))


def test_a_box_for_each_slice_of_what_is_present(model: MedLSAM) -> None:
    image = to_canonical(draw_ct(GRID))
    prompts = located_prompts(model, template_set())("somebody", image)
    expected = {
        (int(z), name)
        for name in ("block", "plate")
        for z in np.flatnonzero(true_mask(image, name).any(axis=(1, 2)))
    }
    assert sorted(p.z for p in prompts) == sorted(z for z, _ in expected)  # and none of the ghost
    for prompt in prompts:
        x0, y0, x1, y1 = (round(edge + 0.5) for edge in prompt.box_xyxy)
        inside = [true_mask(image, name)[prompt.z] for z, name in expected if z == prompt.z]
        assert any(mask[y0:y1, x0:x1].sum() == mask.sum() for mask in inside)
        assert prompt.error_mm is None  # located, not exact


def test_the_command_locates_the_structures_of_support(
    model: MedLSAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    templates = template_set()

    def read(self: MedLSAM, path: Path, organs: Any, on_progress: Any = None) -> Any:
        asked.append((path, organs))
        return templates.select(organs)

    monkeypatch.setattr(medlsam.pipeline.model, "load", lambda **options: model)
    monkeypatch.setattr(MedLSAM, "templates", read)
    monkeypatch.setattr(run, "load_teacher", lambda name, weights, device: FakeTeacher(limit=-200))
    for number in range(2):
        write_volume(draw_ct(GRID), tmp_path / "scans" / f"s{number}.nii.gz")
    planned: list[Any] = []
    plan = run.plan

    def spy(image: Any, options: Any, rng: Any, located: Any) -> Any:
        planned.append(len(located))
        return plan(image, options, rng, located)

    monkeypatch.setattr(run, "plan", spy)
    call = [
        *("finetune", tmp_path / "scans", "--teacher", "sam_vit_b", "--output", tmp_path / "a.safetensors"),
        *("--support", tmp_path / "organs.medlsam", "--organs", "block", "--steps", 1, "--batch-size", 1),
        *("--segmenter", write_tiny(tmp_path / "start.safetensors"), "--device", "cpu", "--json"),
    ]
    result = CliRunner().invoke(app, [str(word) for word in call])
    assert result.exit_code == 0, result.stderr
    assert asked == [(tmp_path / "organs.medlsam", ["block"])]
    assert len(planned) == 2
    assert all(count > 0 for count in planned)
    assert json.loads(result.stdout)["teacher"]["name"] == "fake"
