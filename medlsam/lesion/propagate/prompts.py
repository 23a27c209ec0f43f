"""What a person gives for a lesion: a box, a pair of RECIST diameters or a point on one slice, in LPS millimetres.

``read_prompts`` reads them from our JSON, from Slicer's markups and from DeepLesion's table. A file may hold many
lesions; a bad one is reported and the others are read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medlsam.errors import MedlsamError, UsageError
from medlsam.geometry import Box, Vector
from medlsam.io.slicer_markups import read_marks
from medlsam.lesion.propagate.deeplesion import read_deeplesion
from medlsam.volume import Image

Line = tuple[Vector, Vector]
#: An entry of a prompts file, or why there is none.
Entry = Mapping[str, Any] | MedlsamError
#: The ends of a diameter, and the two diameters of a lesion, lie in one axial slice up to this, mm.
FLAT_MM = 5.0
# What tells the two lines of a lesion apart: "lesion 1 long", "lesion 1_short", or "long" alone. A letter does not:
# "kidney L" lies on the left.
_PART = re.compile(r"(^|[-_ ]+)(long|short|longest|perpendicular|major|minor)$", re.I)


@dataclass(frozen=True)
class LesionPrompt:
    """One lesion, marked on its key slice. At least one of box, long diameter and point is there.

    Attributes:
        name: unique in a file.
        type: what it is, in the user's words; empty where that is not said.
        box: around the lesion on the key slice, LPS mm. The key slice is the one nearest to the middle of its z extent.
        long: ends of the longest axial diameter, LPS mm.
        short: ends of the diameter perpendicular to it.
        point: a point inside, LPS mm.
        outside: points outside, LPS mm.
    """

    name: str
    type: str = ""
    box: Box | None = None
    long: Line | None = None
    short: Line | None = None
    point: Vector | None = None
    outside: tuple[Vector, ...] = ()

    def __post_init__(self) -> None:
        if self.box is None and self.long is None and self.point is None:
            raise UsageError(f"{self.name}: no box, no longest diameter and no point; one of them is needed")
        if self.short is not None and self.long is None:
            raise UsageError(f"{self.name}: a short diameter without the long one")
        places = [
            *(self.long or ()),
            *(self.short or ()),
            *((self.point,) if self.point else ()),
            *self.outside,
        ]
        if not np.isfinite(places or [[0.0]]).all():
            raise UsageError(f"{self.name}: coordinates must be finite, got {places}")
        if self.box is not None and min(self.box.size[:2]) <= 0:
            raise UsageError(f"{self.name}: the box has no extent in the slice: {self.box.to_dict()}")
        if self.long is not None:
            ends = np.array([*self.long, *(self.short or ())])
            if np.ptp(ends[:, 2]) > FLAT_MM:
                heights = ", ".join(f"{z:.1f}" for z in ends[:, 2])
                raise UsageError(
                    f"{self.name}: the ends of its diameters lie at z = {heights} mm; draw them in one axial slice"
                )
            if math.dist(*self.long) <= 0:
                raise UsageError(f"{self.name}: the longest diameter has no length")

    @property
    def kind(self) -> str:
        """``box``, ``recist`` or ``point``: what the lesion is segmented from."""
        return "box" if self.box is not None else "recist" if self.long is not None else "point"

    @property
    def z_mm(self) -> float:
        """The height of the key slice, LPS mm."""
        if self.box is not None:
            return self.box.center[2]
        if self.long is not None:
            return float(np.mean([end[2] for end in self.long]))
        assert self.point is not None, "one of the three is there"
        return self.point[2]

    def to_dict(self) -> dict[str, Any]:
        """Its entry in a prompts file."""
        found: dict[str, Any] = {"name": self.name}
        if self.type:
            found["type"] = self.type
        if self.box is not None:
            found["box"] = self.box.to_dict()
        for key, line in (("long", self.long), ("short", self.short)):
            if line is not None:
                found[key] = [_rounded(end) for end in line]
        if self.point is not None:
            found["point"] = _rounded(self.point)
        if self.outside:
            found["outside"] = [_rounded(place) for place in self.outside]
        return found


@dataclass(frozen=True)
class PromptFile:
    """What a prompts file holds.

    Attributes:
        lesions: those that can be used, in the file's order.
        bad: name (or place in the file) of the others, and what is wrong with each.
    """

    lesions: tuple[LesionPrompt, ...]
    bad: Mapping[str, str]


def read_prompts(path: Path | str, scan: Image) -> PromptFile:
    """Read the lesions that were marked in a scan.

    Our own file is ``{"coordinate_system": "LPS", "units": "mm", "lesions": [{"name", "type", "box", "long", "short",
    "point", "outside"}]}``: ``box`` is ``{"min": [x, y, z], "max": [x, y, z]}``, a diameter two points ``[x, y, z]``,
    ``outside`` a list of points; a lesion has a box, a long diameter or a point. Slicer's ``.mrk.json`` holds ROIs
    (boxes; the key slice is the middle one), lines (two lines whose names differ in ``long`` and ``short`` are a pair,
    as are two of one name: the longer one is the long one) and points. DeepLesion's table (``DL_info.csv``) holds
    pixels of a numbered slice: see ``deeplesion``.

    Args:
        path: ``.json``, ``.mrk.json``, ``.fcsv`` or ``.csv``.
        scan: the scan that they were marked in; only DeepLesion's table needs it.

    Raises:
        UsageError: the file cannot be read, is none of these, or holds no lesion.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        entries = read_deeplesion(path, scan)
    elif path.suffix.lower() == ".fcsv":
        entries = _marked(path)
    else:
        content = _json(path)
        slicers = isinstance(content, dict) and "markups" in content
        entries = _marked(path) if slicers else _listed(content, path)
    lesions: dict[str, LesionPrompt] = {}
    bad: dict[str, str] = {}
    for name, entry in entries:
        # a file may hold hundreds, and one slip must not cost the others
        try:
            if isinstance(entry, MedlsamError):
                raise entry
            made = _made(name, entry)
            if made.name in lesions:
                raise UsageError(f"{made.name}: two lesions have this name; give each its own")
            lesions[made.name] = made
        except MedlsamError as error:
            bad[name if name not in bad else f"{name} ({len(bad) + 1})"] = str(error)
    if not lesions and not bad:
        raise UsageError(f"{path}: holds no lesion; mark a box, a longest diameter or a point for each")
    return PromptFile(tuple(lesions.values()), bad)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error}); prompts are JSON, .mrk.json, .fcsv or .csv") from error


def _listed(content: Any, path: Path) -> Iterator[tuple[str, Entry]]:
    """Entries of our own file."""
    if not isinstance(content, dict) or not isinstance(content.get("lesions"), list):
        raise UsageError(f'{path}: no prompts: neither "lesions" (ours) nor "markups" (Slicer) is in it')
    # such as coordinateSystem: RAS, which must not be read as LPS
    if unknown := sorted(set(content) - _FILE_KEYS):
        raise UsageError(
            f"{path}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(_FILE_KEYS))}"
        )
    for key, wanted in (("coordinate_system", "LPS"), ("units", "mm")):
        if content.get(key, wanted) != wanted:
            raise UsageError(f"{path}: {key} is {content[key]!r}; prompts are in LPS mm")
    for number, entry in enumerate(content["lesions"], start=1):
        name = f"lesion {number}"
        if isinstance(entry, dict):
            yield str(entry.get("name") or name), entry
        else:
            yield name, UsageError(f"{path}: {name} is {json.dumps(entry)}; an entry is an object")


_FILE_KEYS = {"coordinate_system", "units", "lesions"}
_KEYS = {"name", "type", "box", "long", "short", "point", "outside"}


def _made(name: str, entry: Mapping[str, Any]) -> LesionPrompt:
    """Make a lesion of an entry of our own file, or of marks of one name."""
    if unknown := sorted(set(entry) - _KEYS):
        raise UsageError(f"{name}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    try:
        return LesionPrompt(
            name,
            str(entry.get("type") or ""),
            None if entry.get("box") is None else Box.from_dict(entry["box"]),
            _line(entry.get("long")),
            _line(entry.get("short")),
            None if entry.get("point") is None else _point(entry["point"]),
            tuple(_point(place) for place in entry.get("outside") or ()),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"{name}: {type(error).__name__}: {error}; a box is min and max [x, y, z], a diameter two points, "
            "a point [x, y, z], all LPS mm"
        ) from error


def _line(value: Any) -> Line | None:
    if value is None:
        return None
    first, last = value
    return _point(first), _point(last)


def _point(value: Any) -> Vector:
    x, y, z = (float(number) for number in value)
    return (x, y, z)


def _rounded(place: Vector) -> list[float]:
    return [round(v, 2) for v in place]


def _marked(path: Path) -> Iterator[tuple[str, Entry]]:
    """Lesions of Slicer's marks: ROIs and points one by one, lines in pairs."""
    lines: dict[str, list[Line]] = {}
    count: dict[str, int] = {}
    for name, mark in read_marks(path):
        if isinstance(mark, MedlsamError):
            yield name, mark
        elif mark.kind == "Line":
            lines.setdefault(_PART.sub("", name) or "lesion", []).append((mark.points[0], mark.points[1]))
        else:
            count[name] = count.get(name, 0) + 1
            own = name if count[name] == 1 else f"{name} ({count[name]})"
            yield own, {"box": mark.box.to_dict()} if mark.box is not None else {"point": mark.points[0]}
    for name, pair in lines.items():
        if len(pair) > 2:
            yield name, UsageError(f"{name}: {len(pair)} lines; a lesion has a long and a short diameter")
            continue
        long, *short = sorted(pair, key=lambda line: -math.dist(*line))
        yield name, {"long": long, "short": short[0] if short else None}
