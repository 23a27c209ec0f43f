"""What `template show` and `template build` say of calibration and of templates that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medlsam.cli import app
from medlsam.localize.confidence.status import uncalibrated
from medlsam.localize.templates.issues import TemplateIssue
from medlsam.localize.templates.template_set import StructureCalibration, TemplateSet
from tests.support.fakes.stub_model import template_set

FINDING = TemplateIssue(("patient [7]",), ("plate",), "shifted", 2.5, shift_mm=(0.0, 0.0, 31.0))


@pytest.fixture
def templates() -> TemplateSet:
    own = StructureCalibration(3, (1, 2, 3, 4, 5, 6), (7.0,) * 6, 0.75, 0.5)
    return replace(
        template_set(["block", "plate"]),
        calibration={"block": own, "plate": replace(own, n=0)},
        issues=(FINDING,),
        outlier_scores={
            "patient [7]": {"block": 0.3, "plate": 2.5},
            "patient 8": {"block": 0.22, "plate": 0.44},
        },
    )


def show(templates: TemplateSet, folder: Path, *more: str) -> Any:
    templates.save(folder / "t.medlsam")
    result = CliRunner().invoke(app, ["template", "show", str(folder / "t.medlsam"), *more])
    assert result.exit_code == 0, result.output
    return result


def test_tables_and_the_warning(templates: TemplateSet, tmp_path: Path) -> None:
    result = show(templates, tmp_path)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines()]
    rows = {cells[0]: cells for cells in lines if cells}
    assert rows["block"][1:6] == ["1", "1", "3", "0.50", "3.5"]  # label, templates, tried, IoU, wall
    assert rows["plate"][3] == "0"
    assert "7.0" in rows["plate"]
    assert "90 % of all faces" in result.stdout
    assert rows["patient [7]"] == ["patient [7]", "2", "1.40", "2.50", "plate"]
    assert "patient [7] does not fit the other templates" in " ".join(result.stderr.split())
    assert "31 mm towards the head" in " ".join(result.stderr.split())


def test_json_holds_the_findings(templates: TemplateSet, tmp_path: Path) -> None:
    found = json.loads(show(templates, tmp_path, "--json").stdout)
    assert found["findings"] == [{**FINDING.to_dict(), "message": FINDING.message}]
    assert found["misfit"]["patient 8"] == {"block": 0.22, "plate": 0.44}
    assert found["organs"]["block"]["leave_one_out"]["margin_mm"]["x-"] == 7.0
    assert found["organs"]["plate"]["leave_one_out"] is None
    assert found["organs"]["plate"]["parts"] == [1]


def test_one_template_says_that_nothing_could_be_calibrated(tmp_path: Path) -> None:
    alone = replace(template_set(["block"]), calibration={"block": uncalibrated()})
    result = show(alone, tmp_path)
    assert "nothing could be calibrated" in " ".join(result.stdout.split())
    assert f"{uncalibrated().margin_mm[0]:.1f}" in result.stdout
    assert "how the templates fit each other" not in result.stdout
    assert "does not fit" not in result.stderr


def test_an_unknown_margin_is_told(tmp_path: Path) -> None:
    arguments = [
        "template",
        "build",
        str(tmp_path),
        "--output",
        str(tmp_path / "t.medlsam"),
        "--margin",
        "wide",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "'wide' is unknown" in " ".join(result.stderr.split())
    assert not (tmp_path / "t.medlsam").exists()
