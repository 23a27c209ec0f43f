"""The report in a real browser: sorted, filtered, read on a phone, on paper, and without scripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from medlsam.export.report import write_report
from tests.support.processes import until
from tests.support.small_run import small_run
from tests.support.web.browser import Tab, browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]
#: Structures of the table: three of ``a``, three of ``b & <b>``, and the scan that failed.
ROWS = 7


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans more than the small run has, so that there is something below the screen."""
    output = small_run(tmp_path_factory.mktemp("run"))
    run = json.loads((output / "run.json").read_text())
    for number in range(6):
        shutil.copytree(output / "a", output / f"copy {number}")
        run["cases"][f"copy {number}"] = run["cases"]["a"]
        file = output / f"copy {number}" / "localization.json"
        content = json.loads(file.read_text())
        content["organs"]["block"]["confidence"] = 0.1 + number / 10
        file.write_text(json.dumps(content))
    (output / "run.json").write_text(json.dumps(run))
    return write_report(output)


@pytest.fixture
def tab(report: Path) -> Iterator[Tab]:
    with browser() as opened:
        opened.page.goto(report.as_uri())
        yield opened
        assert opened.complaints == []


def shown(tab: Tab) -> list[str]:
    """Scan and structure of the rows that are shown, in their order."""
    return list(
        tab.page.evaluate(
            """() => [...document.querySelectorAll("tbody tr:not([hidden])")].map((row) =>
                `${row.querySelector(".scan").textContent}: ${row.querySelector(".structure").dataset.v}`)"""
        )
    )


def test_it_is_sorted_by_every_column(tab: Tab) -> None:
    first = shown(tab)
    assert len(first) == ROWS + 18
    assert first[0].startswith("c<img src=x>"), "the failed one; and a name is text, never code"
    assert first[1:7] == [f"copy {n}: block" for n in range(6)], "then by confidence"
    heads = tab.page.locator("thead [data-sort] button")
    assert heads.count() == 8
    for number in range(8):
        heads.nth(number).click()
        up = shown(tab)
        assert tab.page.locator("thead [aria-sort=ascending]").count() == 1
        heads.nth(number).click()
        assert sorted(shown(tab)) == sorted(up) == sorted(first), "no row is lost"
    tab.page.locator("thead [data-sort=confidence] button").click()
    values = tab.page.eval_on_selector_all("tbody tr", "rows => rows.map((row) => row.cells[4].dataset.v)")
    numbers = [float(value) for value in values if value is not None]
    assert numbers == sorted(numbers)
    assert values[-1] is None, "what has no value goes last"
    tab.page.locator("thead [data-sort=confidence] button").click()
    values = tab.page.eval_on_selector_all("tbody tr", "rows => rows.map((row) => row.cells[4].dataset.v)")
    assert [float(value) for value in values[:-1]] == sorted(numbers, reverse=True)
    assert values[-1] is None
    tab.page.select_option("#order", "")
    assert shown(tab) == first, "worst first again"


def test_it_is_filtered_by_text_status_and_structure(tab: Tab) -> None:
    tab.page.fill("#words", "B & <b")
    assert {line.rpartition(":")[0] for line in shown(tab)} == {"b & <b>"}
    assert tab.page.inner_text("#count") == "3 of 25"
    tab.page.select_option("#structure", "block")
    assert shown(tab) == ["b & <b>: block"]
    tab.page.fill("#words", "")
    assert len(shown(tab)) == 8
    tab.page.select_option("#structure", "")
    tab.page.select_option("#status", "missing")
    assert all(line.endswith(("ghost", "b & <b>: plate")) for line in shown(tab))
    tab.page.select_option("#status", "failed")
    assert len(shown(tab)) == 1


def test_pictures_come_when_they_are_seen(tab: Tab) -> None:
    # Playwright's own waiting evaluates a string in the page, which the page's policy forbids.
    decoded = "[...document.images].filter((image) => image.complete && image.naturalWidth).length"
    every = tab.page.evaluate("document.images.length")
    until(lambda: tab.page.evaluate(f"{decoded} > 0"))
    early = tab.page.evaluate(decoded)
    assert early < every
    tab.page.evaluate("document.images[document.images.length - 1].scrollIntoView()")
    until(lambda: tab.page.evaluate(f"{decoded} > {early}"))
    assert tab.page.evaluate(
        "[...document.images].every((image) => !image.complete || image.naturalWidth > 0)"
    )
    tab.page.uncheck("#pictures")
    assert not tab.page.locator("tbody .picture").first.is_visible()


def test_a_row_says_how_to_look_at_it(tab: Tab, report: Path) -> None:
    row = tab.page.locator("tbody tr", has_text="b & <b>").first
    row.locator("summary").click()
    assert row.locator("code").inner_text() == f"medlsam view {report.parent} '--case=b & <b>'"
    assert row.locator("button.copy").is_visible()


@pytest.mark.parametrize("width", [360, 400, 800, 1210, 1300, 1400])
def test_a_page_is_never_wider_than_its_screen(report: Path, width: int) -> None:
    with browser(width, 800) as opened:
        opened.page.goto(report.as_uri())
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
        assert opened.page.locator("tbody tr").nth(1).locator("img").is_visible()
        assert opened.complaints == []


def test_without_scripts_the_table_reads_worst_first(report: Path) -> None:
    with browser(scripts=False) as opened:
        opened.page.goto(report.as_uri())
        assert not opened.page.locator("#controls").is_visible()
        words = opened.page.locator("tbody tr").nth(1).inner_text()
        assert "copy 0" in words
        assert "block" in words
        assert opened.page.locator("tbody tr").nth(1).locator("img").is_visible()


def test_on_paper_are_the_rows_that_are_shown_with_all_their_pictures(tab: Tab, tmp_path: Path) -> None:
    def images_on_paper() -> int:
        tab.page.pdf(path=tmp_path / "report.pdf")
        return (tmp_path / "report.pdf").read_bytes().count(b"/Subtype /Image")

    tab.page.evaluate("window.print = () => { document.title = 'printed'; }")
    tab.page.click("#print")
    until(lambda: tab.page.evaluate("document.title === 'printed'"))
    # Equal pictures are one image on paper: those of the copies are.
    different = tab.page.evaluate("new Set([...document.images].map((image) => image.src)).size")
    everything = images_on_paper()
    assert everything >= different
    tab.page.select_option("#structure", "plate")
    assert images_on_paper() < everything
    tab.page.emulate_media(media="print")
    assert not tab.page.locator("#controls").is_visible()
    assert not tab.page.locator("tbody .look").first.is_visible()


def test_a_script_that_somebody_slips_in_does_not_run(report: Path, tmp_path: Path) -> None:
    text = report.read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    changed.write_text(
        text.replace("</main>", "<script>document.title = 'theirs'</script></main>"), encoding="utf-8"
    )
    with browser() as opened:
        opened.page.goto(changed.as_uri())
        assert opened.page.title() == "medlsam report"
        assert any("Content Security Policy" in text for text in opened.complaints)
