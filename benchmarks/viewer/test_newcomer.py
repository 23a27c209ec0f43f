"""The newcomer's small parts: the address in a line of output, the steps, the scores. The way is in tests/viewer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import medlsam
from benchmarks.viewer.newcomer import SECONDS_A_CLICK, Steps, address, address_in, ends, scores


def test_the_address_is_found_in_what_the_server_says() -> None:
    url = "http://127.0.0.1:43210/?token=a-B_9"
    assert address_in(f"templates is made at {url}\n") == url
    assert address_in("every click is saved; Ctrl-C ends it\n") is None
    assert address(io.StringIO(f"reading\nit is at {url}\nmore\n")) == url


def test_a_server_that_ends_says_why() -> None:
    with pytest.raises(RuntimeError, match="port 80 cannot be used"):
        address(io.StringIO("error: port 80 cannot be used\n"))


def test_steps_are_added_up_with_the_clicks_of_a_person() -> None:
    steps = Steps({"one": 20.0, "two": 4.0}, clicks=12)
    assert steps.total == 24.0
    console = Console(width=60, file=io.StringIO())
    console.print(steps.table())
    assert "24.0" in console.file.getvalue()  # type: ignore[attr-defined]
    minutes = (24 + 12 * SECONDS_A_CLICK) / 60
    assert f"{minutes:.1f} min in all" in steps.of_a_person()


def test_scores_go_by_the_names_of_the_run(tmp_path: Path) -> None:
    person = medlsam.phantom(1, (8, 8, 8), (320, 460))
    (liver,) = (value for value, name in person.names.items() if name == "liver")
    mask = (person.labels.array == liver).astype("uint8")
    medlsam.write_volume(
        medlsam.LabelMap(mask * 2, person.labels.grid), tmp_path / "a" / "segmentation.nii.gz"
    )
    (tmp_path / "labels.json").write_text('{"1": "spleen", "2": "liver"}')
    assert scores(tmp_path, person) == {"spleen": 0.0, "liver": 1.0}
    assert ends(person, "liver").box.volume > 0
