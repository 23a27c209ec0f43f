"""UIDs and names of the DICOM objects that are written."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANUFACTURER = "medlsam developers"
MODEL = "medlsam"
#: The longest text of a label or name (value representation LO).
_LONGEST = 64


def made_uid(*content: str | NDArray[Any]) -> str:
    """A UID made from the content that it stands for: the same content gets the same one.

    So a scan that is segmented again, with the same result, replaces its objects in an archive, and does not add to
    them.
    """
    digest = hashlib.sha256()
    for part in content:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(part.tobytes())
        else:
            digest.update(part.encode() + b"\0")
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=4).int}"


def unique_names(names: Iterable[str]) -> list[str]:
    """The names as DICOM text (LO): no backslash or control character, at most 64 characters, no two the same."""
    taken: list[str] = []
    for name in names:
        printable = "".join(" " if ord(letter) < 32 or letter == "\\" else letter for letter in name)
        printable = printable.strip() or "structure"
        text, number = printable[:_LONGEST].strip(), 2
        while text in taken:
            end = f" {number}"
            text, number = printable[: _LONGEST - len(end)].strip() + end, number + 1
        taken.append(text)
    return taken
