"""What the benchmarks share, and how each says that it is run."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from benchmarks.common import SeenOnce, cut_structures, evenly, held, in_view, listed_cases
from medlsam.errors import UsageError
from medlsam.geometry import Box
from medlsam.io.write import write_volume
from tests.support.fakes.fake_localizer import NAMES, FakeLocalizer, labelled

HERE = Path(__file__).parent
SCRIPTS = [
    path for path in sorted(HERE.rglob("*.py")) if path.stem[:5] != "test_" and "__main__" in path.read_text()
]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_and_the_readme_say_how_it_is_run(path: Path) -> None:
    call = f"python benchmarks/{path.relative_to(HERE)}"
    assert call in (ast.get_docstring(ast.parse(path.read_text())) or "")
    assert f"`{call}`" in (HERE / "README.md").read_text()


def test_a_scan_is_embedded_once() -> None:
    localizer = SeenOnce(FakeLocalizer())  # type: ignore[arg-type]
    scan, other = labelled("a", (0, 0, 0)).image, labelled("b", (0, 0, 0)).image
    assert localizer.embed(scan) is localizer.embed(scan)
    assert localizer.embed(scan) is not localizer.embed(other)
    assert localizer.passes == 2
    localizer.forget()
    localizer.embed(scan)
    assert localizer.passes == 3


def test_case_lists_are_thinned_evenly_and_checked(tmp_path: Path) -> None:
    assert evenly("abcdefg", 3) == ["a", "d", "g"]
    assert evenly("abc", 0) == evenly("abc", 9) == ["a", "b", "c"]
    for name in "abc":
        write_volume(labelled(name, (0, 0, 0)).image, tmp_path / "scans" / f"{name}.nii.gz")
    (tmp_path / "list.json").write_text(json.dumps({"good": ["c", "a"], "bad": ["a", "zebra"]}))
    assert [case.name for case in listed_cases(tmp_path / "scans", f"{tmp_path}/list.json:good", 0)] == [
        "c",
        "a",
    ]
    with pytest.raises(UsageError, match="zebra"):
        listed_cases(tmp_path / "scans", f"{tmp_path}/list.json:bad", 0)


def test_a_structure_is_cut_where_much_of_it_lies_in_an_end_slice() -> None:
    template = labelled("a", (0, 0, 0))
    assert template.labels is not None
    assert cut_structures(template, NAMES, 0.0) == set()
    assert held([template, labelled("b", (0, 0, 0), without=[1])], NAMES) == {"lung_right"}
    template.labels.array[-1, :12, :15] = 1
    template.labels.array[0, 0, 0] = 2
    assert cut_structures(template, NAMES, 0.0) == {"lung_left", "lung_right"}
    assert cut_structures(template, NAMES, 0.02) == {"lung_left"}, "one voxel of 13 x 15 is no cut"


def test_boxes_are_cut_to_what_was_scanned() -> None:
    view = Box((0, 0, 0), (10, 10, 10))
    assert in_view(Box((5, 5, 5), (15, 8, 8)), view) == Box((5, 5, 5), (10, 8, 8))
    assert in_view(Box((20, 5, 5), (30, 8, 8)), view) is None
    assert in_view(None, view) is None
