"""The demo end to end, in a small size, with the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from medlsam.demo import DemoResult, demo_table, run_demo
from medlsam.errors import UsageError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(
        tmp_path_factory.mktemp("demo") / "demo",
        device="cpu",
        template_seeds=(101, 102, 103),
        scan_seeds=(201,),
        organs=("liver", "kidney_left", "spleen"),
        region=(300, 500),
        spacing_xyz=(4.0, 4.0, 4.0),
    )


@pytest.mark.slow
def test_it_finds_and_segments(demo: DemoResult) -> None:
    assert demo.exit_code == 0
    assert set(demo.status["person_01"].values()) <= {"found", "uncertain"}
    scores = [score for score in demo.dice["person_01"].values() if score is not None]
    assert len(scores) == 3
    # Far above what boxes in wrong places would give.
    assert sum(scores) / 3 > 0.5


@pytest.mark.slow
def test_what_it_writes(demo: DemoResult) -> None:
    output = demo.output
    assert all(path.exists() for path in demo.places().values())
    image = read_image(output / "scans" / "person_01_0000.nii.gz")
    assert read_label_map(output / "results" / "person_01" / "segmentation.nii.gz").grid.matches(image.grid)
    pictures = sorted(path.name for path in (output / "pictures").iterdir())
    assert pictures == ["kidney_left-person_01.png", "liver-person_01.png", "spleen-person_01.png"]
    assert json.loads((output / "scores.json").read_text())["dice"] == demo.dice
    told = (output / "results" / "run.json").read_text().replace('"reference_series": null', "")
    assert "reference" not in told
    json.dumps(demo.to_dict())


@pytest.mark.slow
def test_the_table(demo: DemoResult) -> None:
    console = Console(record=True, width=100)
    console.print(demo_table(demo))
    text = console.export_text()
    assert f"{demo.dice['person_01']['liver']:.2f}" in text
    assert "±" in text


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("my scans")
    (tmp_path / "scans").mkdir()
    with pytest.raises(UsageError, match="holds other things"):
        run_demo(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.txt", "scans"]
