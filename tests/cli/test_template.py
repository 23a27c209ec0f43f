"""``medlsam template``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medlsam.localize.templates.adapted import AdaptedDecoder, AdaptedScore
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

    def templates(
        self: MedLSAM, path: Path, organs: Any, cases: Any, on_progress: Any, adapt: bool
    ) -> TemplateSet:
        seen.update(path=path, organs=organs, cases=cases, adapt=adapt)
        return template_set(organs)

    monkeypatch.setattr(MedLSAM, "templates", templates)
    (tmp_path / "folder").mkdir()
    result = call(
        "template", "build", tmp_path / "folder", "--output", tmp_path / "t.medlsam",
        "--organs", "plate", "--cases", "split.json:train", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    wanted = {"path": tmp_path / "folder", "organs": ("plate",), "cases": "split.json:train"}
    assert seen == {**wanted, "adapt": False}
    assert TemplateSet.load(tmp_path / "t.medlsam").structures == ("plate",)
    assert list(document(result)["organs"]) == ["plate"]
    assert "adapted" not in document(result)["organs"]["plate"]


def test_template_build_adapted(asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def templates(self: MedLSAM, *_: Any, adapt: bool, **__: Any) -> TemplateSet:
        assert adapt
        scores = {"plate": AdaptedScore(4, 0.7125, 0.75), "block": AdaptedScore(0, 0.0, 0.0)}
        return replace(template_set(["plate", "block"]), adapted=AdaptedDecoder("x", scores, {}))

    monkeypatch.setattr(MedLSAM, "templates", templates)
    (tmp_path / "folder").mkdir()
    call("template", "build", tmp_path / "folder", "--output", tmp_path / "t.medlsam", "--adapt")
    found = document(call("template", "show", tmp_path / "t.medlsam", "--json"))["organs"]
    assert found["plate"]["adapted"] == {"n": 4, "before": 0.7125, "after": 0.75, "used": True}
    assert found["block"]["adapted"]["used"] is False
    shown = call("template", "show", tmp_path / "t.medlsam").stdout
    assert "0.713" in shown or "0.712" in shown
    assert "neither" in shown


def test_template_build_of_a_missing_folder(asked: Any, tmp_path: Path) -> None:
    result = call("template", "build", tmp_path / "none", "--output", tmp_path / "t.medlsam")
    assert result.exit_code == 2
    assert "there is no such templates folder" in result.stderr
