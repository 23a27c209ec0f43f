"""``medlsam template``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medlsam.localize.templates.template_set import StructureCalibration, TemplateSet
from medlsam.pipeline.model import MedLSAM
from tests.support.command_line import call, document
from tests.support.fakes.stub_model import template_set


def test_template_show(tmp_path: Path) -> None:
    templates = template_set(["block", "plate"])
    templates.calibration["block"] = StructureCalibration(3, (1, 2, 3, 4, 5, 6), (2,) * 6, 0.75, 0.5)
    templates.save(tmp_path / "t.medlsam")
    found = document(call("template", "show", tmp_path / "t.medlsam", "--json"))
    assert list(found["organs"]) == ["block", "plate"]
    assert found["organs"]["plate"]["leave_one_out"] is None
    assert found["organs"]["block"]["leave_one_out"]["face_error_mm"]["z+"] == 6
    table = call("template", "show", tmp_path / "t.medlsam").stdout
    assert "0.50" in table  # IoU
    assert "3.5" in table  # mean of the faces


def test_template_show_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "t.medlsam").write_text("no template")
    result = call("template", "show", tmp_path / "t.medlsam")
    assert result.exit_code == 2
    assert "not a medlsam template file" in result.stderr


def test_template_build(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def templates(self: MedLSAM, path: Path, organs: Any, cases: Any, on_progress: Any) -> TemplateSet:
        seen.update(path=path, organs=organs, cases=cases)
        return template_set(organs)

    monkeypatch.setattr(MedLSAM, "templates", templates)
    (tmp_path / "folder").mkdir()
    result = call(
        "template", "build", tmp_path / "folder", "--output", tmp_path / "t.medlsam",
        "--organs", "plate", "--cases", "split.json:train", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert seen == {"path": tmp_path / "folder", "organs": ("plate",), "cases": "split.json:train"}
    assert TemplateSet.load(tmp_path / "t.medlsam").structures == ("plate",)
    assert list(document(result)["organs"]) == ["plate"]


def test_template_build_of_a_missing_folder(asked: Any, tmp_path: Path) -> None:
    result = call("template", "build", tmp_path / "none", "--output", tmp_path / "t.medlsam")
    assert result.exit_code == 2
    assert "there is no such templates folder" in result.stderr
