"""The HTML report: well-formed, without anything from outside, worst first, and nobody's name is code."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medlsam.errors import UsageError
from medlsam.export.report import write_report
from medlsam.export.thumbnails.file import THUMBNAILS_FILE
from medlsam.io.labels import read_label_map
from medlsam.io.write import write_volume
from medlsam.volume import LabelMap

NASTY = "<script>alert(1)</script>"
_VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and the text of scripts and styles; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.inside: dict[str, str] = {"script": "", "style": ""}
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
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]] += data
        else:
            self.text += data

    def values(self, tag: str, name: str) -> list[str]:
        return [value for own, attribute, value in self.attributes if (own, attribute) == (tag, name)]


def page(output: Path, **more: object) -> tuple[str, Page]:
    text = write_report(output, **more).read_text(encoding="utf-8")  # type: ignore[arg-type]
    return text, Page(text)


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def lines(parsed_text: str) -> list[list[str]]:
    """The rows of the table as the words of their cells, in the page's order."""
    body = parsed_text.partition("<tbody")[2].partition("</tbody>")[0]
    rows = [Page(f"<tr{row}").text.split() for row in body.split("<tr")[1:]]
    return [[word for word in row if word not in ("✓", "?", "✕")] for row in rows]


def test_nothing_from_outside_and_only_this_very_script_runs(output: Path) -> None:
    text, parsed = page(output)
    assert not re.search(r"https?://|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    sources = [value for _, name, value in parsed.attributes if name in ("src", "srcset")]
    assert sources
    assert all(re.fullmatch(r"data:image/webp;base64,[A-Za-z0-9+/=]+", value) for value in sources)
    assert all(value.startswith("#") for _, name, value in parsed.attributes if name == "href")
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    (policy,) = [value for value in parsed.values("meta", "content") if "default-src" in value]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'{sum_of(parsed.inside['style'])}'",
        "script-src": f"'{sum_of(parsed.inside['script'])}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert (parsed.tags.count("script"), parsed.tags.count("style")) == (1, 1)


def sum_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_every_structure_and_scan_is_there_worst_first(output: Path) -> None:
    change_confidence(output / "a", "block", 0.2)
    text, parsed = page(output)
    assert [row[:4] for row in lines(text)] == [
        ["VolumeError:", *lines(text)[0][1:4]],  # the scan that failed, and why
        ["a", "block", "found", "0.20"],
        ["a", "plate", "found", "0.90"],
        ["b", "&", "<b>", "block"],
        ["no", "mask", "a", "ghost"],
        ["no", "mask", "b", "&"],
        ["no", "mask", "b", "&"],
    ]
    # Boxes of two scans; block in both and plate in one.
    assert parsed.tags.count("img") == 2 + 3
    assert all(parsed.values("img", "alt"))
    assert set(parsed.values("img", "loading")) == {"lazy"}
    assert set(parsed.values("img", "decoding")) == {"async"}
    for name in ("width", "height"):
        assert all(int(value) > 0 for value in parsed.values("img", name)), (
            "so that nothing moves when they come"
        )
    # 5 x 6 x 6 voxels of 7.5 mm³
    assert "1.3" in parsed.text or "1.4" in parsed.text
    assert 'name="viewport"' in text
    scans = re.findall(r'<article id="scan-(\d)"><h3>([^<]+)', text)
    assert [(number, name.strip()) for number, name in scans] == [
        ("1", "c&lt;img src=x&gt;"),
        ("2", "a"),
        ("3", "b &amp; &lt;b&gt;"),
    ]
    assert set(parsed.values("a", "href")) == {"#scan-1", "#scan-2", "#scan-3"}


def change_confidence(case: Path, structure: str, confidence: float) -> None:
    content = json.loads((case / "localization.json").read_text())
    content["organs"][structure]["confidence"] = confidence
    (case / "localization.json").write_text(json.dumps(content))


def test_every_row_says_how_to_look_at_it(output: Path) -> None:
    _, parsed = page(output)
    folder = output.absolute()
    assert f"medlsam view {folder} --case=a" in parsed.text
    assert f"medlsam view {folder} '--case=b & <b>'" in parsed.text, "quoted for a shell"


def test_what_is_needed_to_do_it_again(output: Path) -> None:
    change(output / "run.json", warnings=["look at the disk"])
    _, parsed = page(output)
    run = json.loads((output / "run.json").read_text())
    for words in (
        run["version"],
        run["templates"]["sha256"],
        run["weights"]["localizer"]["sha256"],
        "seconds per scan",
    ):
        assert words in parsed.text
    assert "look at the disk" in parsed.text
    assert "Failed (1)" in parsed.text
    assert "nobody may be treated" in parsed.text


def test_names_are_escaped(output: Path) -> None:
    change(output / "labels.json", **{"9": NASTY})
    run = json.loads((output / "run.json").read_text())
    run["warnings"] = [NASTY]
    run["weights"]["localizer"]["name"] = NASTY
    run["options"]["prompts"] = "{{ title }}"
    run["cases"]["a"]["warnings"] = [NASTY]
    (output / "run.json").write_text(json.dumps(run))
    text, parsed = page(output)
    assert parsed.tags.count("script") == 1
    assert parsed.text.count(NASTY) == 5, "a choice, three warnings (one at its scan), the weights"
    assert "c<img src=x>" in parsed.text
    assert "{{ title }}" in parsed.text
    assert NASTY not in text


def test_a_case_whose_name_is_markup_is_shown_as_it_is(output: Path) -> None:
    """In the table, in headings, in commands, and in the pictures' descriptions."""
    name = "<b x='\">y</b>&amp;"
    (output / name).parent.mkdir()
    (output / "a").rename(output / name)
    run = json.loads((output / "run.json").read_text())
    run["cases"] = {name if case == "a" else case: record for case, record in run["cases"].items()}
    (output / "run.json").write_text(json.dumps(run))
    text, parsed = page(output)
    assert name not in text
    # Three rows and a heading; in commands it is quoted.
    assert parsed.text.count(name) == 3 + 1
    assert f"located boxes in {name}, frontal and lateral" in parsed.values("img", "alt")
    assert f"block in {name}: axial, coronal and sagittal slice with mask and boxes" in parsed.values(
        "img", "alt"
    )


def test_a_scan_that_was_moved_away_keeps_its_pictures(output: Path) -> None:
    shutil.rmtree(output.parent / "in")
    _, parsed = page(output)
    assert parsed.tags.count("img") == 2 + 3


def test_results_of_an_earlier_version_are_drawn_from_the_scan_up_to_a_limit(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = page(output)[1].values("img", "src")
    for case in ("a", "b & <b>"):
        (output / case / THUMBNAILS_FILE).unlink()
    assert page(output)[1].values("img", "src") == made, "the same as those made with the masks"
    monkeypatch.setattr("medlsam.export.report.pictures.MOST_CASES_DRAWN", 1)
    change_confidence(output / "b & <b>", "block", 0.2)
    _, parsed = page(output)
    assert not [alt for alt in parsed.values("img", "alt") if " in a" in alt], (
        "the more doubtful scan is drawn"
    )
    assert "at most 1 scans are read again to be drawn" in parsed.text
    (output.parent / "in" / "b & <b>.nrrd").unlink()
    _, parsed = page(output)
    assert not [alt for alt in parsed.values("img", "alt") if " in a" not in alt]
    assert "the scan cannot be drawn: " in parsed.text


def test_masks_that_were_changed_are_drawn_anew(output: Path) -> None:
    before = page(output)[1].values("img", "src")
    labels = read_label_map(output / "a" / "segmentation.nii.gz")
    write_volume(
        LabelMap(np.where(labels.array == 1, 0, labels.array), labels.grid),
        output / "a" / "segmentation.nii.gz",
    )
    _, parsed = page(output)
    assert parsed.tags.count("img") == 2 + 2
    assert "no voxel was segmented in its box" in parsed.text
    (output.parent / "in" / "a.nrrd").unlink()
    _, parsed = page(output)
    assert parsed.values("img", "src") == [
        source for source in before if source in parsed.values("img", "src")
    ]
    assert "was changed after its pictures were made" in parsed.text


def test_references_are_drawn_and_named(output: Path, tmp_path: Path) -> None:
    labels = read_label_map(output / "a" / "segmentation.nii.gz")
    truth = tmp_path / "truth.nii.gz"
    write_volume(LabelMap(np.roll(labels.array, 2, axis=2), labels.grid), truth)
    sign = 'class="sign reference dotted"'
    text, parsed = page(output)
    before = dict(zip(parsed.values("img", "alt"), parsed.values("img", "src"), strict=True))
    assert sign not in text
    text, parsed = page(output, references={"a": truth, "b & <b>": tmp_path / "absent.nii.gz"})
    assert sign in text
    assert "the reference is not drawn; the scan cannot be drawn: " in parsed.text
    assert parsed.tags.count("img") == 2 + 3, "the other scan keeps its pictures"
    shown = dict(zip(parsed.values("img", "alt"), parsed.values("img", "src"), strict=True))
    redder = {alt: _pinkness(shown[alt]) - _pinkness(before[alt]) for alt in shown if "axial" in alt}
    assert len(redder) == 3
    assert all((more > 300) == (" in a:" in alt) for alt, more in redder.items()), redder


def _pinkness(source: str) -> float:
    """How much blue a picture has besides what grey, orange and sky blue have: what red and blue have in common."""
    opened = Pillow.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")
    red, green, blue = np.moveaxis(np.asarray(opened).astype(int), -1, 0)
    return float(np.maximum(np.minimum(red, blue) - green, 0).sum())


def test_a_damaged_file_costs_its_scan_only(output: Path) -> None:
    (output / "a" / "localization.json").write_text("{")
    text, parsed = page(output)
    assert "Failed (2)" in parsed.text
    assert "localization.json cannot be read" in parsed.text
    assert parsed.tags.count("img") == 1 + 1
    (output / "b & <b>" / THUMBNAILS_FILE).write_text(
        '{"format": 1, "structures": {"block": {"webp": "<svg>"}}}'
    )
    text, parsed = page(output)
    assert "<svg>" not in text
    assert parsed.tags.count("img") == 1 + 1, "drawn anew"


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        write_report(tmp_path)
