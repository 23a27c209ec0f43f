"""Masks corrected in a real browser: drag a face, click inside and outside, undo, accept, and find all again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import medlsam
from medlsam.batch import segment_folder
from medlsam.io.write import write_volume
from medlsam.viewer.view_routes import view_page
from tests.support.web.browser import Tab, browser
from tests.support.web.clicking import Pointer
from tests.support.web.served import Client, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom, segmented with templates of two others."""
    folder = tmp_path_factory.mktemp("corrected")
    for seed in (1, 2):
        made = medlsam.phantom(seed, (5, 5, 5), (300, 480), fov_mm=380)
        values = {name: value for value, name in made.names.items()}
        own = folder / "templates" / f"patient_{seed}"
        write_volume(made.image, own / "image.nii.gz")
        labels = (made.labels.array == values["liver"]).astype("uint8")
        write_volume(medlsam.LabelMap(labels, made.labels.grid), own / "labels.nii.gz")
    (folder / "templates" / "labels.json").write_text('{"liver": 1}')
    write_volume(medlsam.phantom(3, (5, 5, 5), (300, 480), fov_mm=380).image, folder / "in" / "new.nii.gz")
    model = medlsam.load(device="cpu")
    segment_folder(model, model.templates(folder / "templates"), folder / "in", folder / "out", report=False)
    return folder / "out"


@pytest.fixture
def tab(run: Path) -> Iterator[tuple[Client, Tab]]:
    page = view_page(run)
    with served([*page.routes()]) as client, browser() as opened:
        opened.page.goto(client.server.url)
        opened.shown()
        yield client, opened
    assert page.corrections is not None
    page.corrections.close()
    assert opened.complaints == []


def edits(run: Path) -> list[str]:
    return [
        own["action"] for own in json.loads((run / "corrected" / "new" / "edits.json").read_text())["edits"]
    ]


def saved(tab: Tab) -> None:
    tab.page.locator("#message", has_text="saved").wait_for()
    # the next answer must be a new one
    tab.page.evaluate("document.getElementById('message').textContent = ''")


def test_a_mask_is_corrected_and_accepted(run: Path, tab: tuple[Client, Tab]) -> None:
    client, opened = tab
    page = opened.page
    pointer = Pointer(opened, client.ask("/api/case/0").json()["geometry"])
    before = client.ask("/api/case/0/session").json()["structures"]["liver"]["box"]
    middle = [(low + high) / 2 for low, high in zip(before["min"], before["max"], strict=True)]
    page.click("#mode-box")
    page.locator("#mode-box.chosen").wait_for()
    pointer.walk("axial", pointer.index("axial", middle))
    page.wait_for_timeout(200)
    # beside the edges a click in this mode only moves the planes
    pointer.click("axial", middle)
    page.wait_for_timeout(300)
    right = [before["min"][0], middle[1], middle[2]]
    pointer.drag("axial", right, [right[0] - 12, *right[1:]])
    saved(opened)
    after = client.ask("/api/case/0/session").json()["structures"]["liver"]
    assert after["box"]["min"][0] == pytest.approx(right[0] - 12, abs=2)
    assert after["box"]["max"] == before["max"]
    assert edits(run) == ["box"]
    page.click("#mode-outside")
    pointer.click("axial", middle)
    saved(opened)
    page.click("#mode-inside")
    pointer.click("axial", [middle[0], middle[1] + 10, middle[2]])
    saved(opened)
    clicks = client.ask("/api/case/0/session").json()["structures"]["liver"]["clicks"]
    assert [own["inside"] for own in clicks] == [False, True]
    assert edits(run) == ["box", "click", "click"]
    page.click("#undo")
    saved(opened)
    assert edits(run) == ["box", "click"]
    page.keyboard.press("r")
    saved(opened)
    assert edits(run) == ["box", "click", "click"]
    page.click("#accept")
    page.locator("#accept", has_text="Take acceptance back").wait_for()
    assert (run / "corrected" / "new" / "labels.nii.gz").is_file()
    page.click("#make-templates")
    page.locator("#message", has_text="wrote").wait_for(timeout=120_000)
    assert (run / "corrected" / "templates.medlsam").is_file()


def test_corrections_are_there_again(run: Path, tab: tuple[Client, Tab]) -> None:
    """The next start, in another process' place: the folder is all that is left of the test before."""
    client, opened = tab
    opened.page.click("#mode-box")
    opened.page.locator("#accept", has_text="Take acceptance back").wait_for()
    state = client.ask("/api/case/0/session").json()["structures"]["liver"]
    assert state["accepted"]
    assert len(state["clicks"]) == 2
