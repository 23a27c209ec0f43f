"""``medlsam view`` in a real browser: walk slices, switch structures, windows and scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medlsam.viewer.view_routes import view_page
from tests.support.web.browser import Tab, browser
from tests.support.web.served import Client

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def tab(page: Client) -> Iterator[Tab]:
    with browser() as opened:
        opened.page.goto(page.server.url)
        yield opened


def shown(tab: Tab, plane: str, index: int) -> None:
    tab.page.wait_for_selector(f'#{plane}[data-shown="{index}"]')


def grey_in_the_middle(tab: Tab) -> int:
    script = """() => { const c = document.getElementById("axial");
        return c.getContext("2d").getImageData(c.width / 2, c.height / 2, 1, 1).data[0]; }"""
    return int(tab.page.evaluate(script))


def test_the_failed_scan_is_first_and_says_why(tab: Tab) -> None:
    tab.page.wait_for_selector("#message.bad")
    assert "no voxel spacing" in tab.page.inner_text("#message")
    first = tab.page.locator("#cases li").first
    assert "failed" in first.inner_text()
    assert "<img src=x>" in first.inner_text(), "a name is text, never code"


def test_slices_walk_by_wheel_and_keys(tab: Tab) -> None:
    tab.page.locator("#cases button", has_text="a").last.click()
    start = tab.shown()
    tab.page.hover("#axial")
    tab.page.mouse.wheel(0, -100)
    shown(tab, "axial", start + 1)
    tab.page.focus("#axial")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowDown")
    shown(tab, "axial", start - 1)
    tab.page.keyboard.press("Home")
    shown(tab, "axial", 15)
    tab.page.keyboard.press("ArrowUp")
    shown(tab, "axial", 15)
    tab.page.keyboard.press("End")
    shown(tab, "axial", 0)


def test_a_click_brings_all_planes_there(tab: Tab) -> None:
    box = tab.page.locator("#axial").bounding_box()
    assert box is not None
    # the middle of a picture of 28 columns: continuous column 13.5, row 11.5
    tab.page.mouse.click(box["x"] + box["width"] / 2 + 2, box["y"] + box["height"] / 2 + 2)
    shown(tab, "sagittal", 14)
    shown(tab, "coronal", 12)


def test_structures_are_chosen_and_hidden(tab: Tab) -> None:
    before = tab.page.evaluate("document.getElementById('axial').toDataURL()")
    for box in tab.page.locator("#structures input").all():
        box.uncheck()
    assert tab.page.evaluate("document.getElementById('axial').toDataURL()") != before or tab.shown() == 0
    for box in tab.page.locator("#structures input").all():
        box.check()
    tab.page.locator("#structures button", has_text="plate").click()
    assert tab.page.locator("#structures button.chosen").inner_text().startswith("plate")
    assert "volume" in tab.page.inner_text("#numbers")
    assert "confidence" in tab.page.inner_text("#numbers")


def test_windows_change_the_picture(tab: Tab) -> None:
    tab.page.keyboard.press("1")
    tab.shown()
    soft = grey_in_the_middle(tab)
    tab.page.keyboard.press("3")
    tab.page.wait_for_timeout(300)
    tab.shown()
    assert tab.page.locator("#windows button.chosen").inner_text() == "bone"
    assert grey_in_the_middle(tab) != soft


def test_the_list_is_searched(tab: Tab) -> None:
    tab.page.fill("#filter", "b &")
    assert tab.page.locator("#cases li").count() == 1
    tab.page.fill("#filter", "")
    assert tab.page.locator("#cases li").count() == 3


def test_the_address_names_a_scan(tab: Tab, page: Client, results: Path) -> None:
    """As the report's command has it: the token goes from the address, the scan stays."""
    tab.page.goto(page.server.url + view_page(results).address_of("b & <b>"))
    tab.shown()
    assert tab.page.locator("#cases li.chosen").inner_text().startswith("b & <b>")
    assert "token" not in tab.page.url


def test_nothing_went_wrong_and_nothing_left_the_machine(tab: Tab) -> None:
    # the failed scan's own answer is an error on purpose, and Chromium says so
    assert [text for text in tab.complaints if "400" not in text] == []
