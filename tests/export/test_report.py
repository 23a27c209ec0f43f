"""The HTML report: well-formed, without anything from outside, and nobody's name is code."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from medlsam.batch import segment_folder
from medlsam.errors import UsageError
from medlsam.export.report import write_report
from medlsam.geometry import Grid
from medlsam.io.write import write_volume
from tests.support.fakes.stub_model import draw_ct, stub_model, template_set

GRID = Grid((16, 24, 28), (1.5, 2.0, 2.5), (10.0, -20.0, 5.0))
NASTY = "<script>alert(1)</script>"
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and attributes; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run over two scans and one that fails; names that want to be code."""
    for name in ("a", "b & <b>"):
        write_volume(
            draw_ct(GRID, without=["plate"] if name == "a" else []), tmp_path / "in" / f"{name}.nrrd"
        )
    (tmp_path / "in" / "c<img src=x>.nrrd").write_text("no image")
    segment_folder(stub_model(monkeypatch), template_set(), tmp_path / "in", tmp_path / "out", report=False)
    return tmp_path / "out"


def page(output: Path) -> tuple[str, Page]:
    text = write_report(output).read_text(encoding="utf-8")
    return text, Page(text)


def test_nothing_from_outside(output: Path) -> None:
    text, parsed = page(output)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert "script" not in parsed.tags
    sources = [value for _, name, value in parsed.attributes if name in ("src", "href", "srcset")]
    assert sources
    assert all(value.startswith("data:image/png;base64,") for value in sources)


def test_every_structure_and_scan_is_there(output: Path) -> None:
    text, parsed = page(output)
    for words in ("block", "plate", "ghost", "b & <b>", "found 0.90", "missing 0.10", "failed"):
        assert words in parsed.text
    # Boxes of two scans; block in both and plate in one.
    assert parsed.tags.count("img") == 2 + 3
    assert all(value for tag, name, value in parsed.attributes if (tag, name) == ("img", "alt"))
    # 5 x 6 x 6 voxels of 7.5 mm³
    assert "1.3 ml" in parsed.text or "1.4 ml" in parsed.text
    assert 'name="viewport"' in text


def test_names_are_escaped(output: Path) -> None:
    labels = json.loads((output / "labels.json").read_text())
    (output / "labels.json").write_text(json.dumps(labels | {"9": NASTY}))
    run = json.loads((output / "run.json").read_text())
    run["warnings"] = [NASTY]
    run["weights"]["localizer"]["name"] = NASTY
    run["options"]["prompts"] = "{{ title }}"
    run["cases"]["a"]["warnings"] = [NASTY]
    (output / "run.json").write_text(json.dumps(run))
    text, parsed = page(output)
    assert "script" not in parsed.tags
    assert parsed.text.count(NASTY) == 4
    assert "c<img src=x>" in parsed.text
    assert "{{ title }}" in parsed.text
    assert NASTY not in text


@pytest.mark.parametrize("names", [("block", "plate", "ghost", "other"), ("block",)])
def test_a_case_whose_name_is_markup_is_shown_as_it_is(output: Path, names: tuple[str, ...]) -> None:
    """In the table, whichever way it is turned, in headings and in the pictures' descriptions."""
    name = "<b>x&y</b>"
    (output / name).parent.mkdir()
    (output / "a").rename(output / name)
    (output / "labels.json").write_text(json.dumps(dict(enumerate(names, start=1))))
    run = json.loads((output / "run.json").read_text())
    run["cases"] = {name if case == "a" else case: record for case, record in run["cases"].items()}
    (output / "run.json").write_text(json.dumps(run))
    text, parsed = page(output)
    assert name not in text
    assert "&lt;b&gt;x&amp;y&lt;/b&gt;" in text
    assert parsed.text.count(name) == 2, "in the overview and above its pictures"
    alts = [value for tag, attribute, value in parsed.attributes if (tag, attribute) == ("img", "alt")]
    assert f"located boxes in {name}, frontal and lateral" in alts


def test_a_scan_that_was_moved_away_leaves_the_numbers(output: Path) -> None:
    (output.parent / "in" / "a.nrrd").unlink()
    _, parsed = page(output)
    assert "No pictures" in parsed.text
    assert parsed.tags.count("img") == 3  # those of the other scan


def test_only_the_doubtful_scans_are_drawn(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = output / "a" / "localization.json"
    found = json.loads(path.read_text())
    found["organs"]["block"]["confidence"] = 0.2
    path.write_text(json.dumps(found))
    monkeypatch.setattr("medlsam.export.report.MOST_CASES_DRAWN", 1)
    _, parsed = page(output)
    alts = [value for tag, name, value in parsed.attributes if (tag, name) == ("img", "alt")]
    assert [alt for alt in alts if " in a" not in alt] == []
    assert "Drawn are 1 of 2 scans" in parsed.text


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        write_report(tmp_path)
