"""Templates of a folder and of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from medlsam.localize.build_templates import Template
from medlsam.pipeline.model import MedLSAM
from medlsam.volume import LabelMap
from tests.support.fakes.stub_model import (
    draw_ct,
    template_set,
    true_mask,
)

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture
def templates_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    for number, name in enumerate(("anna", "bert", "cleo")):
        image = draw_ct(GRID, seed=number)
        write_volume(image, folder / name / "image.nii.gz")
        labels = np.where(true_mask(image, "block"), 1, 0).astype(np.uint8)
        write_volume(LabelMap(labels, image.grid), folder / name / "labels.nii.gz")
    (folder / "labels.json").write_text('{"block": 1}')
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``build_templates`` was called with."""
    seen: dict[str, Any] = {}

    def build(localizer: Any, templates: Iterator[Template], names: Any, **more: Any) -> Any:
        assert not isinstance(templates, list)  # one scan in memory at a time
        seen.update(templates=list(templates), names=names, **more)
        return template_set(["block"])

    monkeypatch.setattr("medlsam.pipeline.templates.build_templates", build)
    return seen


def test_templates_of_a_folder(model: MedLSAM, templates_folder: Path, built: dict[str, Any]) -> None:
    model.templates(templates_folder, organs=["block"], cases=["cleo", "anna"])
    assert [template.name for template in built["templates"]] == ["cleo", "anna"]
    assert built["names"] == {1: "block"}
    assert built["organs"] == ["block"]
    template = built["templates"][0]
    np.testing.assert_array_equal(template.labels.array == 1, true_mask(template.image, "block"))


def test_templates_by_a_list_in_a_file(model: MedLSAM, templates_folder: Path, built: dict[str, Any]) -> None:
    (templates_folder.parent / "splits.json").write_text('{"few": ["bert"]}')
    model.templates(templates_folder, cases=f"{templates_folder.parent / 'splits.json'}:few")
    assert [template.name for template in built["templates"]] == ["bert"]


def test_an_unknown_template_is_named(model: MedLSAM, templates_folder: Path) -> None:
    with pytest.raises(TemplateError, match=r"no template 'ana' \(did you mean 'anna'"):
        model.templates(templates_folder, cases=["ana"])


def test_templates_of_a_file(model: MedLSAM, tmp_path: Path) -> None:
    path = tmp_path / "set.medlsam"
    template_set().save(path)
    assert model.templates(path).structures == ("block", "plate", "ghost")
    assert model.templates(path, organs=["plate"]).structures == ("plate",)
    with pytest.raises(UsageError, match="not from a file"):
        model.templates(path, cases=["anna"])
    with pytest.raises(TemplateError, match="there is no such"):
        model.templates(tmp_path / "absent.medlsam")
    template_set(signature="0" * 64).save(path)
    with pytest.raises(TemplateError, match="another localizer"):
        model.templates(path)
