"""The collection and licence of a scan, as files beside it say; nothing is guessed."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

_TABLES = ("collection.json", "dataset.json", "dataset_description.json")
_TEXTS = ("LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "LICENSE.md", "LICENCE.md")
_LONGEST = 120


def provenance(file: Path, root: Path) -> tuple[str, str | None]:
    """The collection (the root's name where no file names it) and the licence (None where no file says it).

    Looked for in the folder of ``file`` and in those above it up to ``root``, the nearest first: ``name`` and
    ``licence`` (or ``license``) of ``collection.json``, ``dataset.json`` (nnU-Net) or ``dataset_description.json``
    (BIDS), and the first line of a ``LICENSE`` file.
    """
    top = root if root.is_dir() else root.parent
    collection = licence = None
    for folder in (file.parent, *file.parent.parents):
        name, text = _told_in(folder)
        collection, licence = collection or name, licence or text
        if folder == top:
            break
    return collection or top.name, licence


@lru_cache(maxsize=4096)
def _told_in(folder: Path) -> tuple[str | None, str | None]:
    name = licence = None
    for table in (folder / name for name in _TABLES):
        fields = _fields(table)
        name = name or fields.get("name")
        licence = licence or fields.get("licence") or fields.get("license")
    for text in (folder / name for name in _TEXTS):
        if licence is None and text.is_file():
            lines = text.read_text(encoding="utf-8", errors="replace").splitlines()
            licence = next((line.strip("# \t") for line in lines if line.strip("# \t")), None)
    return name, licence[:_LONGEST] if licence else None


def _fields(table: Path) -> dict[str, str]:
    """The text fields of a JSON table by their names in lower case; none where it cannot be read."""
    try:
        data = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {
        key.lower(): value.strip() for key, value in data.items() if isinstance(value, str) and value.strip()
    }
