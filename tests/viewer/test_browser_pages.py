"""The pages under fingers and keys, and between two scans: no click goes to another scan than the one shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medlsam.geometry import Grid
from medlsam.io.cases import find_cases
from medlsam.io.write import write_volume
from medlsam.viewer.annotate_routes import AnnotatePage
from tests.support.fakes.stub_model import draw_ct
from tests.support.web.browser import Tab, browser
from tests.support.web.clicking import ORDER, Pointer, add, open_scan
from tests.support.web.served import Client, served
from tests.viewer.test_browser_annotate import WithoutModel

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
PHONE = {"width": 400, "height": 800, "phone": True}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name in ("a", "b"):
        write_volume(draw_ct(GRID), folder / f"scan_{name}.nrrd")
    return folder


@contextmanager
def annotating(scans: Path, output: Path, **size: int | bool) -> Iterator[tuple[Client, Tab]]:
    with (
        WithoutModel(find_cases(scans), output) as project,
        served([*AnnotatePage(project).routes()]) as client,
        browser(**size) as tab,  # type: ignore[arg-type]
    ):
        tab.page.goto(client.server.url)
        tab.shown()
        add(tab, "thing")
        yield client, tab
        assert tab.complaints == []


def placed(client: Client) -> list[int]:
    """How many points each scan has."""
    cases = client.ask("/api/project").json()["cases"]
    return [6 - case["marks"]["thing"]["remaining"] if case["marks"] else 0 for case in cases]


def test_no_click_goes_to_a_scan_that_is_not_shown_yet(scans: Path, tmp_path: Path) -> None:
    with annotating(scans, tmp_path / "out") as (client, tab):
        held = []
        tab.page.route("**/api/case/1", lambda route: held.append(route))
        tab.page.locator("#cases button", has_text="scan_b").click()
        tab.page.locator("#cases li.chosen", has_text="scan_b").wait_for()
        assert tab.page.get_attribute("#axial", "data-shown") == ""
        tab.page.locator("#structures button", has_text="thing").click()
        tab.page.locator("#axial").click()
        tab.page.wait_for_timeout(200)
        assert placed(client) == [0, 0]
        held[0].continue_()
        tab.shown()
        tab.page.locator("#axial").click()
        tab.page.locator("#faces button", has_text="✓").wait_for()
        assert placed(client) == [0, 1]


def test_a_late_picture_of_the_scan_before_is_not_shown(scans: Path, tmp_path: Path) -> None:
    with annotating(scans, tmp_path / "out") as (_, tab):
        late, tinted = [], "() => document.getElementById('axial').toDataURL()"
        tab.page.route("**/api/case/0/slice/axial/14*", lambda route: late.append(route))
        tab.page.focus("#axial")
        tab.page.keyboard.press("Home")
        tab.page.keyboard.press("ArrowDown")
        tab.page.wait_for_timeout(200)
        assert late
        open_scan(tab, "scan_b")
        Pointer(tab, {}).walk("axial", 14)
        before = tab.page.evaluate(tinted)
        # what comes late is another picture than scan_b's: that of its first slice, which is air
        late[0].continue_(url=late[0].request.url.replace("/14?", "/0?"))
        tab.page.wait_for_timeout(400)
        tab.page.keyboard.press("ArrowDown")
        tab.page.keyboard.press("ArrowUp")
        tab.page.wait_for_selector('#axial[data-shown="14"]')
        assert tab.page.evaluate(tinted) == before


def test_a_phone_has_no_sideways_scrolling_and_its_sliders_walk(scans: Path, tmp_path: Path) -> None:
    with annotating(scans, tmp_path / "out", **PHONE) as (client, tab):
        page = tab.page
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        small = """() => [...document.querySelectorAll("button, summary, .walk input")]
            .filter((own) => own.getClientRects().length && own.getBoundingClientRect().height < 44)
            .map((own) => own.textContent)"""
        assert page.evaluate(small) == []
        page.locator("#axial-plane input").fill("3")
        page.wait_for_selector('#axial[data-shown="3"]')
        page.locator("#axial").tap()
        page.locator("#faces button", has_text="✓").wait_for()
        assert placed(client) == [1, 0]


def test_a_finger_on_a_plane_moves_the_page_and_not_the_slice(scans: Path, tmp_path: Path) -> None:
    with annotating(scans, tmp_path / "out", **PHONE) as (client, tab):
        page = tab.page
        page.evaluate("window.scrollTo(0, 100)")
        box = page.locator("#axial").bounding_box()
        assert page.evaluate("document.documentElement.scrollHeight") > 1100
        assert box is not None
        index, start = tab.shown(), page.evaluate("window.scrollY")
        protocol = page.context.new_cdp_session(page)
        x, y = box["x"] + 80, box["y"] + 150
        for kind, up in [
            ("touchStart", 0),
            *(("touchMove", up) for up in range(10, 130, 10)),
            ("touchEnd", None),
        ]:
            points = [] if up is None else [{"x": x, "y": y - up}]
            protocol.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
            page.wait_for_timeout(20)
        page.wait_for_timeout(300)
        assert page.evaluate("window.scrollY") > start + 60
        assert tab.shown() == index
        assert placed(client) == [0, 0]


def test_who_walks_by_keys_stays_where_they_are(scans: Path, tmp_path: Path) -> None:
    with annotating(scans, tmp_path / "out") as (_, tab):
        page, focused = tab.page, "document.activeElement.dataset.face"
        page.focus("#name")
        while page.evaluate(focused) != ORDER[1]:
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(f'#faces button.chosen[data-face="{ORDER[1]}"]').wait_for()
        assert page.evaluate(focused) == ORDER[1]
        assert page.get_attribute(f'#faces button[data-face="{ORDER[1]}"]', "aria-pressed") == "true"
