"""What the benchmarks share: their options, one embedding per scan, whole and cut structures, and how they answer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import find_objects

from medlsam.errors import MedlsamError, UsageError
from medlsam.geometry import Box
from medlsam.io.cases import Case, find_cases
from medlsam.io.label_names import read_case_list
from medlsam.localize.build_templates import Template
from medlsam.localize.localizer import Localizer
from medlsam.localize.protocol import ScanEmbedding
from medlsam.measure.summary import summarize
from medlsam.runtime.atomic_files import write_json
from medlsam.volume import Image

# What scripts take from the tests is of this repository, not of the package `tests` that rt-utils installs.
sys.path.insert(0, str(Path(__file__).parents[1]))
#: Where the real scans lie by default; see its README for what may be used for what.
CT = Path("../shared/ct")
T = TypeVar("T")


class SeenOnce:
    """A localizer that embeds each scan once, however many template sets are made of it or searched in it.

    Attributes:
        passes: scans embedded so far.
    """

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self.name, self.signature, self.device = localizer.name, localizer.signature, localizer.device
        self.passes = 0
        self._seen: dict[Image, ScanEmbedding] = {}

    def embed(self, volume: Image) -> ScanEmbedding:
        """The scan's embedding: made at the first call, kept until ``forget``."""
        if volume not in self._seen:
            self.passes += 1
            self._seen[volume] = self.localizer.embed(volume)
        return self._seen[volume]

    def forget(self) -> None:
        """Free what is kept of all scans."""
        self._seen.clear()


def options(doc: str | None, real: bool = True) -> argparse.ArgumentParser:
    """The options that every benchmark has.

    Args:
        doc: of the script; it says the command and what is printed.
        real: whether it reads real scans.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--localizer", default="medlam-tiny", help="a known name or a weights file")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    if real:
        parser.add_argument("--ct", type=Path, default=CT, metavar="DIR", help="real scans (%(default)s)")
    return parser


def command(main: Callable[[], None]) -> None:
    """Run a script; what medlsam refuses on purpose is a message and exit code 2."""
    try:
        with torch.inference_mode():
            main()
    except MedlsamError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def answer(tables: Sequence[Table], document: dict[str, Any], file: Path | None) -> None:
    """Print tables, and write the figures behind them where a file was named."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=160)
    for table in tables:
        console.print(table)
    if file is not None:
        write_json(file, document)


def progress(text: str) -> None:
    """Say what is being done, on standard error, so that a table can be piped."""
    print(text, file=sys.stderr, flush=True)


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """``limit`` of the items, evenly spaced over the list; all of them where ``limit`` is 0 or more than there are."""
    if limit <= 0 or limit >= len(items):
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, limit).round()]


def listed_cases(images: Path, spec: str, limit: int) -> list[Case]:
    """The scans of a folder that a case list names, at most ``limit`` of them, evenly spaced over the list.

    Args:
        images: folder of scans.
        spec: ``FILE.json`` or ``FILE.json:key``.
        limit: 0 for all.

    Raises:
        UsageError: no such folder or list, or a listed scan is not in the folder.
    """
    known = {case.name: case for case in find_cases(images)}
    wanted = read_case_list(spec)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"{images}: there is no scan {unknown[0]!r} (listed in {spec})")
    return [known[name] for name in evenly(wanted, limit)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """``mean ±std`` of the values that exist, or a dash."""
    entry = summarize(values)
    return "–" if entry["mean"] is None else f"{entry['mean']:.{digits}f} ±{entry['std']:.{digits}f}"


def held(templates: Sequence[Template], names: dict[int, str]) -> set[str]:
    """The structures that every one of some labelled scans has."""
    common = set(names.values())
    for template in templates:
        assert template.labels is not None, "a scan with labels"
        common &= {names[value] for value in np.unique(template.labels.array).tolist() if value in names}
    return common


def in_view(box: Box | None, view: Box) -> Box | None:
    """The part of a box that was scanned, or None."""
    return None if box is None else box.intersection(view)


def cut_structures(template: Template, names: dict[int, str], least: float) -> set[str]:
    """The structures of a labelled scan that its first or last slice cuts.

    Args:
        template: with a label map, slices along its first axis.
        names: value to structure.
        least: a structure that touches an end with less than this share of its widest slice counts as whole.
    """
    assert template.labels is not None, "a scan with labels"
    array = template.labels.array
    found = find_objects(array)
    cut = set()
    for value, name in names.items():
        if value > len(found) or found[value - 1] is None:
            continue
        area = np.count_nonzero(array[found[value - 1]] == value, axis=(1, 2))
        place = found[value - 1][0]
        ends = ([area[0]] if place.start == 0 else []) + ([area[-1]] if place.stop == len(array) else [])
        if max(ends, default=0) > least * area.max():
            cut.add(name)
    return cut
