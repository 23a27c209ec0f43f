"""What the page of ``medlsam annotate`` is told, and which changes are refused; nothing of these touches a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medlsam.geometry import Grid
from medlsam.io.cases import find_cases
from medlsam.io.write import write_volume
from medlsam.viewer.annotate.project import AnnotationProject
from medlsam.viewer.annotate.scan_file import read_answers
from medlsam.viewer.annotate_routes import AnnotatePage
from medlsam.volume import Image
from tests.support.web.served import Answer, Client, served

GRID = Grid((20, 24, 28), (3.0, 4.0, 5.0))


@pytest.fixture
def client(tmp_path: Path, make_ct: Callable[..., Image]) -> Iterator[Client]:
    for name in ("one", "two"):
        write_volume(make_ct(GRID), tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no image")
    with (
        AnnotationProject(find_cases(tmp_path / "in"), tmp_path / "out") as project,
        served([*AnnotatePage(project).routes()]) as made,
    ):
        yield made


def index(client: Client, case: str) -> int:
    return [own["case"] for own in client.ask("/api/project").json()["cases"]].index(case)


def post(client: Client, case: str, action: str, **body: Any) -> Answer:
    return client.ask(f"/api/case/{index(client, case)}/{action}", "POST", body)


def test_a_click_is_saved_before_it_is_answered(client: Client, tmp_path: Path) -> None:
    answer = post(client, "one", "place", structure="liver", point=[20, 30, 40], face="z+", seen=0).json()
    assert answer["answers"]["marks"]["liver"]["faces"] == {"z+": [20, 30, 40]}
    assert answer["answers"]["marks"]["liver"]["remaining"] == 5
    assert answer["structures"] == ["liver"]
    assert read_answers(tmp_path / "out" / "one")["liver"].faces == {"z+": (20, 30, 40)}
    undone = post(client, "one", "undo", seen=answer["answers"]["seen"]).json()
    assert undone["answers"]["marks"]["liver"]["faces"] == {}


def test_two_tabs_do_not_overwrite_each_other(client: Client, tmp_path: Path) -> None:
    first = post(client, "one", "place", structure="liver", point=[20, 30, 40], face="z+", seen=0)
    second = post(client, "one", "place", structure="liver", point=[20, 30, 10], face="z+", seen=0)
    assert (first.status, second.status) == (200, 409)
    assert "another tab" in second.json()["error"]
    assert second.json()["answers"] == first.json()["answers"], "so that the tab can show it"
    assert read_answers(tmp_path / "out" / "one")["liver"].faces == {"z+": (20, 30, 40)}
    # another scan has a count of its own
    assert post(client, "two", "absent", structure="liver", seen=0).status == 200


@pytest.mark.parametrize(
    ("action", "body", "words"),
    [
        ("place", {"structure": "a", "point": [1, 2]}, "point: three numbers"),
        ("place", {"structure": "a", "point": [1, 2, None]}, "point: a number is needed"),
        ("place", {"structure": "a", "point": [1, 2, True]}, "point: a number is needed"),
        ("place", {"structure": "a", "point": [900, 0, 0]}, "lies outside of the scan"),
        ("place", {"structure": "a", "point": [20, 30, 40], "face": "q"}, "'q' is no face"),
        ("place", {"structure": "x" * 300, "point": [20, 30, 40]}, "structure: a text is needed"),
        ("place", {"structure": ["a"], "point": [20, 30, 40]}, "structure: a text is needed"),
        ("move_face", {"structure": "a", "face": "z+", "position": 3}, "no point yet"),
        ("remove_point", {"structure": "a", "which": None}, "a face or a number is needed"),
        ("accept", {"structure": "a"}, "nothing was proposed yet"),
        ("undo", {}, "nothing to undo"),
    ],
)
def test_wrong_changes_are_refused_in_words(
    client: Client, tmp_path: Path, action: str, body: dict[str, Any], words: str
) -> None:
    answer = post(client, "one", action, **body, seen=0)
    assert answer.status == 400, answer.body
    assert words in answer.json()["error"]
    assert not (tmp_path / "out" / "one" / "extreme_points.mrk.json").exists()
    # nothing was changed, so the tab is not behind
    assert post(client, "one", "absent", structure="a", seen=0).status == 200


def test_a_scan_that_cannot_be_read_costs_no_other(client: Client) -> None:
    refused = client.ask(f"/api/case/{index(client, 'bad')}")
    assert refused.status == 400
    assert "bad.nii.gz" in refused.json()["error"]
    assert client.ask(f"/api/case/{index(client, 'one')}").status == 200
    assert client.ask("/api/case/9").status == 400


def test_structures_are_added_and_renamed(client: Client) -> None:
    assert client.ask("/api/structure", "POST", {"name": "liver"}).json()["structures"] == ["liver"]
    seen = post(client, "one", "absent", structure="liver", seen=0).json()["answers"]["seen"]
    renamed = client.ask("/api/rename", "POST", {"old": "liver", "new": "spleen"}).json()
    assert renamed["structures"] == ["spleen"]
    behind = post(client, "one", "remove", structure="liver", seen=seen)
    assert behind.status == 409, "its marks have another name now"
    assert client.ask("/api/rename", "POST", {"old": "no", "new": "x"}).status == 400
    assert "no structure is complete" in client.ask("/api/build", "POST", {}).json()["error"]
