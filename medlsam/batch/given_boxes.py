"""Which boxes are given for a scan: in an output folder whose ``boxes.mrk.json`` was edited, or in files of one's own.

For a scan called ``<case>`` a folder holds either of

1. ``<case>/boxes.mrk.json``, and beside it the boxes that 3D Slicer saved: it writes each ROI into a file of its own
   (``<case>/liver.mrk.json``), which counts before the same structure in ``boxes.mrk.json``;
2. ``<case>.mrk.json``;

or, where neither is there, ``<case>/localization.json`` with the boxes as they were located.

A structure whose box is not in the files is missing, or out of view if ``<case>/localization.json`` says so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medlsam.errors import MedlsamError, UsageError
from medlsam.export.slicer_markups import BOXES_FILE
from medlsam.geometry import Box
from medlsam.io.slicer_markups import read_boxes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenBoxes:
    """The boxes given for one scan.

    Attributes:
        boxes: structure to box, LPS mm.
        out_of_view: structures that the scan does not reach, as far as a localization says so.
    """

    boxes: Mapping[str, Box]
    out_of_view: frozenset[str] = frozenset()


def check_boxes(path: Path, cases: Sequence[str], output: Path) -> None:
    """Refuse boxes that cannot be meant, before any work.

    Args:
        path: where the boxes lie.
        cases: names of the scans.
        output: the folder that the run writes to.

    Raises:
        UsageError: nothing there, one file for several scans, boxes for none of them, or boxes in the output folder.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder of boxes")
    if path.is_file():
        if len(cases) > 1:
            raise UsageError(
                f"{path}: one file of boxes, but {len(cases)} scans ({cases[0]}, {cases[1]}, ...); "
                "give a folder with <case>.mrk.json or <case>/boxes.mrk.json for each"
            )
    elif not any(_places(path, case) for case in cases):
        raise UsageError(
            _nothing(path, cases[0]) + (f", nor for {len(cases) - 1} others" if cases[1:] else "")
        )
    if path.resolve().is_relative_to(output.resolve()):
        raise UsageError(
            f"{path}: the boxes lie in the output folder, where the results would replace them; "
            "give another folder for the output"
        )


def read_given(path: Path, case: str, structures: Collection[str]) -> GivenBoxes:
    """The boxes given for one scan.

    Args:
        path: the folder, or the one file.
        case: the scan's name.
        structures: names that are known; see ``read_boxes``.

    Raises:
        UsageError: no boxes for this scan, several places that hold some, or a file that cannot be read.
        GeometryError: a box that is not finite.
    """
    if path.is_file():
        return GivenBoxes(read_boxes(path, structures))
    places = _places(path, case)
    drawn = [place for place in places if place.name != "localization.json"]
    if len({place.parent for place in drawn}) > 1:
        raise UsageError(f"{drawn[0].parent} and {drawn[-1]}: both hold boxes of {case}; keep one")
    if not places:
        raise UsageError(_nothing(path, case))
    located = path / case / "localization.json"
    out_of_view = _out_of_view(located) if located.is_file() else frozenset()
    if not drawn:
        return GivenBoxes(read_boxes(located), out_of_view)
    boxes: dict[str, Box] = {}
    saved_by: dict[str, Path] = {}
    # False comes first: the common file, then those of single structures.
    for place in sorted(drawn, key=lambda place: place.name != BOXES_FILE):
        for name, box in read_boxes(place, structures).items():
            before = saved_by.get(name)
            if before is not None and before.name != BOXES_FILE:
                raise UsageError(f"{before} and {place}: both hold a box of {name}; keep one")
            if before is not None and box != boxes[name]:
                _log.warning(
                    "%s: the box of %s is taken from %s, not from %s", case, name, place.name, before.name
                )
            boxes[name], saved_by[name] = box, place
    return GivenBoxes(boxes, out_of_view)


def boxes_state(path: Path, case: str, structures: Collection[str]) -> Any:
    """What a scan's fingerprint holds of its boxes: their values, to 0.0001 mm, whichever file they come from."""
    try:
        given = read_given(path, case, structures)
    except MedlsamError:  # told when the scan is worked on
        return None
    faces = {name: [round(float(face), 4) for face in box.faces] for name, box in given.boxes.items()}
    return [faces, sorted(given.out_of_view)]


def _places(path: Path, case: str) -> list[Path]:
    """The files that hold boxes of a scan."""
    own = path / case
    # The common file counts also where all boxes were deleted in it, which is an error and no reason to look elsewhere.
    drawn = [f for f in sorted(own.glob("*.mrk.json")) if f.name == BOXES_FILE or _holds_boxes(f)]
    flat = [file for file in [path / f"{case}.mrk.json"] if file.is_file()]
    located = [file for file in [own / "localization.json"] if file.is_file()]
    return drawn + flat + located


def _holds_boxes(file: Path) -> bool:
    """Whether a markups file is not one of points alone; one that cannot be read is, so that it is told."""
    try:
        return bool(read_boxes(file, required=False))
    except MedlsamError:
        return True


def _nothing(path: Path, case: str) -> str:
    return (
        f"{path}: no boxes for {case}: neither {case}/{BOXES_FILE} nor {case}.mrk.json nor "
        f"{case}/localization.json is there"
    )


def _out_of_view(file: Path) -> frozenset[str]:
    try:
        structures = json.loads(file.read_text(encoding="utf-8"))["organs"].items()
        return frozenset(name for name, entry in structures if entry["status"] == "out_of_view")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: not a localization.json ({type(error).__name__}: {error})") from error
