"""Values that the shell completes while a command is typed. Nothing here may be slow, fail, or import torch."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any, Literal

import typer

from medlsam.windows import WINDOWS

#: Gives the values that fit what was typed so far.
Completion = Callable[[typer.Context, str], list[str]]

_WORD = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
#: Devices that need no number.
DEVICES = ("auto", "cpu", "cuda", "mps")


def completion_of(name: str, option: Field[Any]) -> Completion | None:
    """The completion of an option of inference: of its words, or of what its name says; None where any text fits."""
    known = {
        "organs": structures,
        "device": one_of(DEVICES),
        "localizer": weights("localizer"),
        "segmenter": weights("segmenter"),
        "window": one_of(("auto", "model", *WINDOWS)),
    }
    if name in known:
        return known[name]
    metavar = str(option.metadata["metavar"] or "")
    for sign, make in (("|", one_of), (",", some_of)):
        words = metavar.split(sign)
        if len(words) > 1 and all(map(_WORD.fullmatch, words)):
            return make(words)
    return None


def one_of(words: Iterable[str]) -> Completion:
    """One of some words."""
    known = list(words)

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return complete


def some_of(words: Iterable[str]) -> Completion:
    """Several of some words, comma-separated."""
    known = list(words)

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return _several(known, incomplete)

    return complete


def weights(kind: Literal["localizer", "segmenter"] | None = None) -> Completion:
    """The name of known weights, or a file of weights.

    Args:
        kind: only these; all names and no files where None.
    """

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        from medlsam.weights import ENTRIES

        names = [name for name, entry in ENTRIES.items() if kind in (None, entry.kind)]
        found = [name for name in names if name.startswith(incomplete)]
        return found if kind is None else found + _files(incomplete, (".safetensors", ".pth", ".pt"))

    return complete


def structures(context: typer.Context, incomplete: str) -> list[str]:
    """Structures of the templates that the command line names so far, comma-separated."""
    given = context.params.get("support") or context.params.get("path")
    try:
        known = _structures_of(Path(str(given))) if given else []
    except Exception:  # whatever is wrong with the templates, the command itself will say it
        return []
    return _several(known, incomplete)


def _structures_of(path: Path) -> list[str]:
    if path.is_file():
        # Not TemplateSet.load, which needs torch: the names are in the file's description.
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            return list(json.loads(file.metadata()["medlsam"])["organs"])
    from medlsam.io.label_names import read_label_names

    files = [path / "dataset.json", path / "labels.json", *sorted(path.glob("*/labels.json"))[:1]]
    return list(read_label_names(next(file for file in files if file.is_file())).values())


def _several(known: Iterable[str], incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{word}" for word in known if word.startswith(last) and word not in given]


def _files(incomplete: str, suffixes: tuple[str, ...]) -> list[str]:
    place = Path(incomplete)
    folder = place if incomplete.endswith("/") else place.parent
    try:
        found = sorted(folder.iterdir())
    except OSError:
        return []
    names = [f"{file}/" if file.is_dir() else str(file) for file in found if not file.name.startswith(".")]
    return [name for name in names if name.startswith(incomplete) and name.endswith(("/", *suffixes))]
