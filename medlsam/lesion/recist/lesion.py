"""One lesion as RECIST speaks of it: what was measured, what kind it is, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from medlsam.errors import UsageError
from medlsam.measure.lesions import LesionMeasurement

#: HCUCH's letters: primary tumour, metastasis, node (adenopathy). Empty where nobody said it.
LesionType = Literal["t", "m", "n", ""]
TYPE_NAMES: dict[LesionType, str] = {
    "t": "primary tumour",
    "m": "metastasis",
    "n": "lymph node",
    "": "lesion",
}

_LETTERS: dict[str, LesionType] = {"t": "t", "m": "m", "n": "n", "": ""}

#: All nodes are one organ when targets are chosen.
NODES = "lymph nodes"
_NODE = re.compile(r"(^|[_\W])(lymph|lymphnodes?|nodes?|adenopath\w*)($|[_\W])", re.IGNORECASE)
_SIDES = re.compile(r"(^|[_ ])(left|right|l|r)(?=$|[_ ])")
#: Parts that are one organ: lobes of a lung, both of a pair, and bones (the names of TotalSegmentator's).
_ONE_ORGAN = {
    "lung": re.compile(r"lungs?($|[_ ](upper|middle|lower)([_ ]lobe)?$|[_ ]lobe)"),
    "kidney": re.compile(r"kidneys$"),
    "adrenal": re.compile(r"adrenals?([_ ]glands?)?$"),
    "bone": re.compile(
        r"(bones?|vertebrae?|ribs?|sacrum|sternum|skull|femur|humerus|hip|scapula|clavicula)($|[_ ]\w+$)"
    ),
}


@dataclass(frozen=True)
class Kind:
    """What kind of lesion it is, and where.

    Attributes:
        type: primary tumour, metastasis or node; empty where unknown.
        site: the organ, or of a node the region; empty where unknown.
    """

    type: LesionType = ""
    site: str = ""

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Read HCUCH's label, type and site with a comma between them: ``m,lung``.

        Of a name without a comma (``liver_tumor``) only nodes are known by their name (``lymph_node``, ``adenopathy``);
        of all others the type is not known, and the name is the site.

        Raises:
            UsageError: the type is none of t, m, n.
        """
        first, comma, rest = (part.strip() for part in text.partition(","))
        if not comma:
            if first.lower() in _LETTERS:
                return cls(_LETTERS[first.lower()])
            return cls("n" if _NODE.search(first) else "", first)
        if first.lower() not in _LETTERS:
            raise UsageError(
                f"lesion label {text!r}: {first!r} is no type; a label is type and site, such as m,lung: t is a "
                "primary tumour, m a metastasis, n a lymph node"
            )
        return cls(_LETTERS[first.lower()], rest)

    def __str__(self) -> str:
        """As HCUCH writes it."""
        return f"{self.type},{self.site}" if self.type else self.site

    @property
    def node(self) -> bool:
        """Whether it is a lymph node, measured by its short axis."""
        return self.type == "n"

    @property
    def organ(self) -> str:
        """What counts as one organ when targets are chosen: all nodes are one, paired organs, lobes, and all bones."""
        if self.node:
            return NODES
        name = _SIDES.sub("", self.site.lower().replace("-", "_")).strip("_ ")
        same = (organ for organ, names in _ONE_ORGAN.items() if names.match(name))
        return next(same, name) or "unknown"


@dataclass(frozen=True)
class Lesion:
    """A measured lesion and its kind.

    Attributes:
        measured: its figures.
        kind: type and site.
    """

    measured: LesionMeasurement
    kind: Kind = Kind()

    @property
    def id(self) -> int:
        """The number of the lesion in its visit."""
        return self.measured.id

    @property
    def node(self) -> bool:
        """Whether it is a lymph node."""
        return self.kind.node

    @property
    def diameter_mm(self) -> float:
        """The diameter that counts: the short axis of a node, the longest diameter of all others."""
        return self.measured.perpendicular_mm if self.node else self.measured.longest_mm

    @property
    def hcuch_mm(self) -> float:
        """The diameter that the HCUCH dataset would give: of its oriented box."""
        return self.measured.hcuch_minor_mm if self.node else self.measured.hcuch_major_mm
