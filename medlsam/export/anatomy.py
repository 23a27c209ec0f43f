"""What a structure's name means to other programs: coded anatomy (SNOMED CT), and a colour.

``anatomy.csv`` holds the codes by the names of TotalSegmentator's classes and of common label files: the code, what
it means, its kind, and names, in whatever spelling. The kind is ``single``; ``paired``, which may have a side;
``left`` or ``right``, where the code itself says it and the name must; ``abnormal``; or ``in`` and an organ, for what
lies in it.
"""

from __future__ import annotations

import colorsys
import csv
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Value, coding scheme and meaning, as DICOM writes a code.
Code = tuple[str, str, str]

ANATOMICAL_STRUCTURE: Code = ("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")
SIDES: dict[str, Code] = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
#: Scheme of the codes that stand for a name which no dictionary has. 99 marks it as private.
OWN_SCHEME = "99MEDLSAM"

_SIDE_WORDS = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Anatomy:
    """What a structure is.

    Attributes:
        category: anatomical or abnormal structure.
        type: the organ, or what kind of abnormality.
        side: left or right, of the type or (where there is one) of the region; None where the type says it itself.
        region: the organ that an abnormality lies in.
    """

    category: Code
    type: Code
    side: Code | None = None
    region: Code | None = None

    @property
    def is_organ(self) -> bool:
        """Whether it is a known part of the body."""
        return self.category == ANATOMICAL_STRUCTURE and self.type[1] == "SCT"


def anatomy_of(name: str) -> Anatomy:
    """The codes of a structure by its name: "kidney_left", "Left kidney", "LeftKidney" and "Kidney (L)" are one.

    A name that the table does not have gets a code of our own scheme, whose meaning is the name as it is.
    """
    key, side = _key(name)
    row = _table().get((key, side)) or _table().get((key, None))
    if row is None or (side is not None and row.kind in ("single", "abnormal")):
        return Anatomy(ANATOMICAL_STRUCTURE, _own_code(name))
    of_type: Code = (row.code, "SCT", row.meaning)
    if row.kind == "abnormal":
        return Anatomy(ABNORMAL_STRUCTURE, of_type)
    if row.kind.startswith("in "):
        _, organ, meaning = row.kind.split(" ", 2)
        return Anatomy(ABNORMAL_STRUCTURE, of_type, SIDES.get(side or ""), (organ, "SCT", meaning))
    return Anatomy(ANATOMICAL_STRUCTURE, of_type, SIDES.get(side or "") if row.kind == "paired" else None)


def colour_of(name: str) -> tuple[int, int, int]:
    """A colour (red, green, blue; 0 to 255) that depends on the name alone: the same in every run and file.

    Left and right have one hue; the right is darker.
    """
    key, side = _key(name)
    digest = hashlib.sha256(key.encode()).digest()
    hue, saturation = int.from_bytes(digest[:2]) / 2**16, 0.55 + 0.4 * digest[2] / 255
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, {None: 0.9, "left": 1.0, "right": 0.65}[side])
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True)
class _Row:
    code: str
    meaning: str
    kind: str


@cache
def _table() -> dict[tuple[str, str | None], _Row]:
    """Key and side to code; the side is None where the name need not say one."""
    found: dict[tuple[str, str | None], _Row] = {}
    with (Path(__file__).parent / "anatomy.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row = _Row(line["code"], line["meaning"], line["kind"])
            side = row.kind if row.kind in SIDES else None
            found |= {(_key(name)[0], side): row for name in line["names"].split()}
    return found


def _key(name: str) -> tuple[str, str | None]:
    """A name without case, punctuation and side; and the side."""
    words = re.findall(r"[^\W_]+", _CAMEL.sub(" ", name))
    sides = {_SIDE_WORDS[word.casefold()] for word in words if word.casefold() in _SIDE_WORDS}
    if len(sides) > 1:
        return "".join(words).casefold(), None
    rest = [word.casefold() for word in words if word.casefold() not in _SIDE_WORDS]
    return "".join(rest) or name.casefold(), next(iter(sides), None)


def _own_code(name: str) -> Code:
    """A code for a name that the table lacks: its value (at most 16 letters) is made from the name."""
    plain = " ".join(name.replace("\\", " ").split())[:64] or "structure"
    return (f"S{hashlib.sha256(name.encode()).hexdigest()[:12].upper()}", OWN_SCHEME, plain)
