"""The structures of a templates folder: ``labels.json``, and a new name for one of them in all scans."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from medlsam.errors import TemplateError, UsageError
from medlsam.io.label_names import read_json, read_label_names
from medlsam.runtime.atomic_files import write_json

LABELS_FILE = "labels.json"
#: What is under way: it is finished when the folder is opened again.
RENAMING_FILE = ".renaming.json"
#: Values of a label map go up to here.
_MOST = 65535


def read_structures(output: Path) -> dict[str, int]:
    """Structure to value, from ``labels.json``; empty where there is none yet.

    Raises:
        TemplateError: the file is wrong.
    """
    path = output / LABELS_FILE
    return {name: value for value, name in read_label_names(path).items()} if path.is_file() else {}


def clean_name(name: str, known: Iterable[str]) -> str:
    """A structure's name as it is kept: without blanks around it, letters composed.

    Raises:
        UsageError: it is empty, has characters that no name has, or is known but for upper and lower case.
    """
    clean = " ".join(unicodedata.normalize("NFC", name).split())
    if not clean:
        raise UsageError("the name of a structure is empty")
    if not clean.isprintable() or len(clean) > 100:
        raise UsageError(
            f"{clean[:100]!r} cannot be the name of a structure: at most 100 printable characters"
        )
    for other in known:
        if other.casefold() == clean.casefold():
            raise UsageError(f"there is a structure {other!r} already")
    return clean


def add_structure(output: Path, structures: dict[str, int], name: str) -> dict[str, int]:
    """Structure to value with one more structure, written.

    Raises:
        UsageError: as ``clean_name``, or all values are taken.
    """
    name = clean_name(name, structures)
    value = max(structures.values(), default=0) + 1
    if value > _MOST:
        value = next((v for v in range(1, _MOST + 1) if v not in structures.values()), 0)
    if not value:
        raise UsageError(f"{output / LABELS_FILE}: all {_MOST} values are taken")
    more = {**structures, name: value}
    write_json(output / LABELS_FILE, more)
    return more


def rename_structure(
    output: Path, structures: dict[str, int], old: str, new: str, in_scans: Callable[[str, str], None]
) -> dict[str, int]:
    """Give a structure another name in ``labels.json`` and in all scans.

    A note in the folder says what is under way, so that what a kill interrupts is finished later. Until then the
    folder is no valid templates folder: its scans name a structure that ``labels.json`` lacks, which is an error.

    Args:
        output: the templates folder.
        structures: structure to value.
        old: its name.
        new: the name that it gets.
        in_scans: gives every scan the new name; it is called again for scans that have it already.

    Returns:
        Structure to value, with the new name in the old one's place.

    Raises:
        UsageError: there is no such structure, or as ``clean_name``.
    """
    if old not in structures:
        raise UsageError(f"there is no structure {old!r}; there are {', '.join(structures) or 'none'}")
    new = clean_name(new, [name for name in structures if name != old])
    if new == old:
        return structures
    write_json(output / RENAMING_FILE, {"from": old, "to": new})
    return _finish(output, structures, old, new, in_scans)


def finish_renaming(
    output: Path, structures: dict[str, int], in_scans: Callable[[str, str], None]
) -> dict[str, int]:
    """Finish what ``rename_structure`` was kept from finishing; nothing where nothing is under way.

    Raises:
        TemplateError: the note about it is damaged.
    """
    path = output / RENAMING_FILE
    if not path.is_file():
        return structures
    note = read_json(path, TemplateError)
    if not isinstance(note, dict) or not all(isinstance(note.get(end), str) for end in ("from", "to")):
        raise TemplateError(
            f"{path}: not a note about a new name; remove it and look at the names of the structures"
        )
    return _finish(output, structures, note["from"], note["to"], in_scans)


def _finish(
    output: Path, structures: dict[str, int], old: str, new: str, in_scans: Callable[[str, str], None]
) -> dict[str, int]:
    renamed = {new if name == old else name: value for name, value in structures.items()}
    write_json(output / LABELS_FILE, renamed)
    in_scans(old, new)
    (output / RENAMING_FILE).unlink(missing_ok=True)
    return renamed
