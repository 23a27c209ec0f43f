"""The lesion demo end to end, in a small size, with the weights that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from medlsam.demo.lesion_report import lesion_rows, lesion_tables, response_rows
from medlsam.demo.lesion_result import LesionDemoResult
from medlsam.demo.lesions import run_lesion_demo
from medlsam.errors import UsageError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.lesion.propagate.prompts import read_prompts
from medlsam.lesion.recist.files import find_visit, read_lesions


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> LesionDemoResult:
    return run_lesion_demo(
        tmp_path_factory.mktemp("demo") / "demo", device="cpu", lesions=4, spacing_xyz=(3.0, 3.0, 4.0)
    )


@pytest.mark.slow
def test_lesions_are_found_measured_and_followed(demo: LesionDemoResult) -> None:
    assert demo.exit_code == 0
    assert [len(visit.lesions) for visit in demo.visits] == [len(v.phantom.lesions) for v in demo.visits]
    for visit in demo.visits:
        assert all(score > 0 for score in visit.dice.values())
        assert sum(visit.dice.values()) / len(visit.dice) > 0.4
        assert all(lesion.kind.site == visit.truth[lesion.id].organ for lesion in visit.lesions)
    right = demo.matches()
    assert len(right) == len({own.id for visit in demo.visits for own in visit.phantom.lesions})
    assert sum(right.values()) >= len(right) - 1


@pytest.mark.slow
def test_the_true_response_is_that_of_the_true_diameters(demo: LesionDemoResult) -> None:
    targets = [track for track in demo.followed.tracks if track.target]
    first = [demo.visits[0].truth[track.sightings[0].lesions[0].id] for track in targets]
    later = {lesion.id: lesion for lesion in demo.visits[1].phantom.lesions}
    axis = {True: "perpendicular_mm", False: "longest_mm"}
    sums = [
        sum(getattr(own, axis[own.beside]) for own in lesions)
        for lesions in (first, [later[own.id] for own in first if own.id in later])
    ]
    assert demo.true_response.nadir_mm == pytest.approx(sums[0])
    assert demo.true_response.sum_mm == pytest.approx(sums[1])


@pytest.mark.slow
def test_what_it_writes_can_be_read_by_the_commands(demo: LesionDemoResult) -> None:
    assert all(path.exists() for path in demo.places().values())
    for visit in demo.visits:
        folder = demo.output / visit.name
        image = read_image(folder / "image.nii.gz")
        assert read_label_map(folder / "truth.nii.gz").grid.matches(image.grid)
        marked = read_prompts(folder / "prompts.json", image)
        assert len(marked.lesions) == len(visit.lesions)
        assert not marked.bad
        read, _, _ = read_lesions(find_visit(folder), 1, "given")
        assert [(own.id, own.kind) for own in read] == [(own.id, own.kind) for own in visit.lesions]
        assert [own.diameter_mm for own in read] == pytest.approx([own.diameter_mm for own in visit.lesions])
    report = (demo.output / "report.html").read_text()
    pictures = sorted((demo.output / "pictures").iterdir())
    assert len(pictures) == 5
    assert all(f'src="pictures/{path.name}"' in report for path in pictures)
    assert demo.response.overall.value in report
    written = json.loads((demo.output / "truth.json").read_text())
    assert {own["id"] for own in written["baseline"]} == {own.id for own in demo.visits[0].phantom.lesions}
    document = json.loads(json.dumps(demo.to_dict()))
    assert document["true_response"] == demo.true_response.overall.value
    assert all(entry["match_right"] in (True, False) for entry in document["lesions"])


@pytest.mark.slow
def test_the_tables(demo: LesionDemoResult) -> None:
    heads, rows = lesion_rows(demo)
    assert all(len(row) == len(heads) for row in rows)
    assert len(rows) == len(demo.matches())
    heads, rows = response_rows(demo)
    assert [row[0] for row in rows] == ["measured", "true"]
    assert all(len(row) == len(heads) for row in rows)
    console = Console(record=True, width=160)
    for table in lesion_tables(demo):
        console.print(table)
    assert demo.response.overall.value in console.export_text()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    # That of the other demo is one, too.
    (tmp_path / "README.txt").write_text("Made by `medlsam demo`. Nothing here is a patient")
    with pytest.raises(UsageError, match="holds other things"):
        run_lesion_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.txt"]
