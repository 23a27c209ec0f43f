"""What comes in the documents of a page, checked: names, numbers, places, boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from medlsam.errors import UsageError
from medlsam.geometry import Box

Body = Mapping[str, Any]


class Behind(Exception):  # noqa: N818 - it is answered, and is no fault of the server
    """A change from a tab that has not seen the last one.

    Attributes:
        case: that was changed meanwhile.
    """

    def __init__(self, case: str) -> None:
        super().__init__(f"{case} was changed in another tab; this is its state now, so do it again")
        self.case = case


def number(value: object, name: str) -> float:
    """Read a finite number of an address or a document.

    Raises:
        UsageError: it is none.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"{name}: a number is needed, got {str(value)[:40]!r}")
    return found


def text_of(body: Body, name: str) -> str:
    """Read a text.

    Raises:
        UsageError: it is none, or longer than a name is.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value or len(value) > 200:
        raise UsageError(f"{name}: a text is needed, got {str(value)[:40]!r}")
    return value


def point_of(body: Body, name: str = "point") -> list[float]:
    """Read a place, LPS mm.

    Raises:
        UsageError: it is none.
    """
    return _place(body.get(name), name)


def box_of(body: Body, name: str = "box") -> Box:
    """Read a box, LPS mm.

    Raises:
        UsageError: it is none.
    """
    value = body.get(name)
    if not isinstance(value, Mapping):
        raise UsageError(f"{name}: a box is needed, got {str(value)[:60]!r}")
    low, high = (_place(value.get(side), f"{name}.{side}") for side in ("min", "max"))
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def which_of(body: Body) -> str | int:
    """Read which point is meant: a face, or the number of one without a face.

    Raises:
        UsageError: neither.
    """
    value = body.get("which")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"which: a face or a number is needed, got {str(value)[:40]!r}")
    return value


def _place(value: object, name: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:
        raise UsageError(f"{name}: three numbers are needed (LPS mm), got {str(value)[:60]!r}")
    return [number(part, name) for part in value]
