"""Calls that are wrong: each is refused in words with exit code 2, before anything is written, without a traceback."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medlsam.io.write import write_volume
from medlsam.weights.entries import SHIPPED_DIR
from tests.support.command_line import GRID, call
from tests.support.fakes.stub_model import draw_ct, template_set

LOCALIZER = SHIPPED_DIR / "medlam-tiny.safetensors"


@dataclass
class World:
    """Good scans and templates, and a place to put something bad."""

    place: Path
    templates: Path
    scans: Path

    @property
    def output(self) -> Path:
        return self.place / "out"

    def segment(self, *more: object, **instead: object) -> list[object]:
        usual: dict[str, object] = {"support": self.templates, "images": self.scans, "output": self.output}
        flags = [part for name, value in (usual | instead).items() for part in (f"--{name}", value)]
        return ["segment", *flags, "--device", "cpu", *more]

    def file(self, name: str, content: bytes = b"x") -> Path:
        (self.place / name).parent.mkdir(parents=True, exist_ok=True)
        (self.place / name).write_bytes(content)
        return self.place / name

    def folder(self, name: str) -> Path:
        (self.place / name).mkdir(parents=True)
        return self.place / name


@pytest.fixture
def world(tmp_path: Path) -> World:
    from medlsam.weights import sha256_of

    write_volume(draw_ct(GRID), tmp_path / "scans" / "a.nii.gz")
    template_set(signature=sha256_of(LOCALIZER)).save(tmp_path / "t.medlsam")
    return World(tmp_path, tmp_path / "t.medlsam", tmp_path / "scans")


def _two_of_one_name(w: World) -> list[object]:
    write_volume(draw_ct(GRID), w.scans / "a_0000.nrrd")
    return w.segment()


def _templates_folder_as_output(w: World) -> list[object]:
    w.file("out/labels.json", b'{"liver": 1}')
    return w.segment()


def _others_output(w: World) -> list[object]:
    w.file("out/run.json", b'{"command": "localize"}')
    return w.segment()


def _other_localizer(w: World) -> list[object]:
    template_set().save(w.place / "other.medlsam")
    return w.segment(support=w.place / "other.medlsam")


def _cut(w: World) -> list[object]:
    return w.segment(support=w.file("cut.medlsam", w.templates.read_bytes()[:300]))


def _pair(w: World, labels: bytes | None, table: bytes | None = b'{"liver": 1}') -> list[object]:
    write_volume(draw_ct(GRID), w.place / "pairs" / "p" / "image.nii.gz")
    if labels is not None:
        w.file("pairs/p/labels.nii.gz", labels)
    if table is not None:
        w.file("pairs/labels.json", table)
    return ["template", "build", w.place / "pairs", "--output", w.place / "new.medlsam", "--device", "cpu"]


def _markups(w: World, content: object) -> list[object]:
    w.file("pairs/p/extreme_points.mrk.json", json.dumps(content).encode())
    return _pair(w, None, None)


def _channels(w: World) -> list[object]:
    w.file(
        "set/dataset.json", b'{"channel_names": {"0": "CT", "1": "PET"}, "labels": {"background": 0, "a": 1}}'
    )
    w.file("set/imagesTr/a_0000.nii.gz")
    return w.segment(images=w.place / "set")


Call = Callable[[World], list[object]]
CALLS: dict[str, tuple[Call, str]] = {
    "no such scans": (lambda w: w.segment(images=w.place / "none"), "none: there is no such file or folder"),
    "an empty folder": (lambda w: w.segment(images=w.folder("empty")), "no scan in this folder"),
    "a text as scan": (lambda w: w.segment(images=w.file("a.txt")), "a.txt: not a scan"),
    "two scans of one name": (_two_of_one_name, "2 scans are called 'a'"),
    "several channels": (_channels, "2 channels"),
    "the output is a file": (lambda w: w.segment(output=w.file("f")), "this is a file; give a folder"),
    "the output lies in a file": (
        lambda w: w.segment(output=w.file("f") / "out"),
        "cannot be used|is a file",
    ),
    "the output is a templates folder": (_templates_folder_as_output, "may be a templates folder"),
    "the output is of another command": (_others_output, "holds what `medlsam localize` wrote"),
    "the scans lie in the output": (
        lambda w: w.segment(output=w.scans),
        "no scans outside of the output folder",
    ),
    "no such templates": (
        lambda w: w.segment(support=w.place / "none"),
        "no such template file or templates folder",
    ),
    "templates of text": (lambda w: w.segment(support=w.file("t.txt")), r"t\.txt"),
    "templates cut off": (_cut, r"cut\.medlsam"),
    "templates that are weights": (lambda w: w.segment(support=LOCALIZER), "medlam-tiny.safetensors"),
    "an empty templates folder": (
        lambda w: w.segment(support=w.folder("empty")),
        "no templates in this folder",
    ),
    "templates of another localizer": (_other_localizer, "made with another localizer"),
    "an unknown structure": (lambda w: w.segment("--organs", "blok"), "did you mean 'block'"),
    "labels without names": (lambda w: _pair(w, b"x", None), "no labels.json"),
    "a table that is broken": (lambda w: _pair(w, b"x", b"{"), r"labels\.json: cannot be read as JSON"),
    "a table of regions": (lambda w: _pair(w, b"x", b'{"all": [1, 2]}'), "regions of several values"),
    "labels that are no image": (lambda w: _pair(w, b"x"), r"labels\.nii\.gz: not a NIfTI file"),
    "markups that are none": (lambda w: _markups(w, {"a": 1}), "not a 3D Slicer markups file"),
    "markups with four points": (
        lambda w: _markups(
            w,
            {"markups": [{"name": "liver", "controlPoints": [{"position": [n, n, n]} for n in range(4)]}]},
        ),
        "liver has 4 points; six are needed",
    ),
    "no such weights": (lambda w: w.segment("--segmenter", "sam_vit_x"), "sam_vit_x"),
    "weights that are not here": (lambda w: w.segment("--segmenter", w.place / "none.pth"), r"none\.pth"),
    "a pickle as weights": (
        lambda w: w.segment("--segmenter", w.file("p.pth", pickle.dumps(os.getcwd))),
        r"p\.pth",
    ),
    "a scan as weights": (
        lambda w: w.segment("--segmenter", w.scans / "a.nii.gz"),
        "gzip-compressed|a.nii.gz",
    ),
    "weights of the other kind": (
        lambda w: w.segment("--segmenter", LOCALIZER),
        "a segmenter is wanted|localizer",
    ),
    "weights cut off": (
        lambda w: w.segment("--localizer", w.file("c.safetensors", LOCALIZER.read_bytes()[:5000])),
        r"c\.safetensors",
    ),
    "weights for another localizer": (
        lambda w: w.segment("--weights", "x.pth"),
        "go with the localizer 'published'",
    ),
    "no such device": (lambda w: [*w.segment()[:-1], "cuda:7"], "cuda:7|cuda"),
    "no such configuration": (lambda w: w.segment("--config", w.place / "none.yaml"), r"none\.yaml"),
    "a configuration that is none": (
        lambda w: w.segment("--config", w.file("c.yaml", b"a: [")),
        "cannot be read as YAML",
    ),
    "an unknown key": (
        lambda w: w.segment("--config", w.file("c.yaml", b"margin: 3")),
        "did you mean 'margin_mm'",
    ),
    "a value of the wrong kind": (
        lambda w: w.segment("--config", w.file("c.yaml", b"margin_mm: wide")),
        "margin_mm: a number is needed",
    ),
    "a value out of range": (lambda w: w.segment("--threshold", "2"), "threshold must lie between 0 and 1"),
    "an unknown word": (lambda w: w.segment("--prompts", "wlp"), "did you mean"),
    "an unknown flag": (lambda w: w.segment("--marginn", "2"), "No such option"),
    "a shard that is none": (lambda w: w.segment("--shard", "3/2"), "give i/n with i from 1 to n"),
    "a shard without scans": (lambda w: w.segment("--shard", "2/2"), "this shard has none"),
    "no processes": (lambda w: w.segment("--jobs", "0"), "jobs"),
    "no such scheduler": (lambda w: w.segment("--scheduler", "nonsense"), "nonsense"),
}


@pytest.mark.parametrize("kind", CALLS)
def test_a_wrong_call_is_refused_before_anything_is_written(world: World, kind: str) -> None:
    make, words = CALLS[kind]
    arguments = make(world)
    before = {path: path.stat().st_mtime_ns for path in world.place.rglob("*")}
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    text = " ".join(result.stderr.replace("│", " ").split())
    assert re.search(words, text), text
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert {path: path.stat().st_mtime_ns for path in world.place.rglob("*")} == before
    assert result.stdout == ""
