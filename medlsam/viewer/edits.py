"""The edits of a scan's masks in a file, and how a session is made from them again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlsam.errors import MedlsamError, UsageError
from medlsam.geometry import Box
from medlsam.runtime.atomic_files import write_json

if TYPE_CHECKING:
    from medlsam.pipeline.session import Edit, Session

EDITS_FILE = "edits.json"
_FORMAT = 1
Entry = Mapping[str, Any]


def write_edits(file: Path, masks: str, edits: Sequence[Entry], accepted: Sequence[str]) -> None:
    """Write what was done and not undone.

    Args:
        file: to write, atomically.
        masks: sha256 of the run's label map, which the edits were made on.
        edits: in the order in which they were made; places are LPS mm.
        accepted: structures.
    """
    write_json(file, {"format": _FORMAT, "masks": masks, "edits": list(edits), "accepted": list(accepted)})


def apply_edit(session: Session, entry: Entry) -> Edit:
    """Make one edit.

    Raises:
        UsageError: there is no such edit, or as ``Session`` says.
    """
    name, action = entry["structure"], entry["action"]
    if action == "box":
        return session.move_box(name, Box.from_dict(entry["box"]))
    if action == "click":
        return session.click(name, entry["point"], bool(entry["inside"]))
    if action == "clear":
        return session.clear_clicks(name)
    if action == "absent":
        return session.absent(name)
    raise UsageError(f"{name}: no edit is called {str(action)[:40]!r}")


def replay(session: Session, file: Path, masks: str) -> list[dict[str, Any]]:
    """Make the edits of an earlier process again.

    Args:
        session: that begins with the run's masks.
        file: of ``write_edits``; it may not be there.
        masks: sha256 of the run's label map now.

    Returns:
        The edits.

    Raises:
        UsageError: the file is damaged, or its edits are of other masks; it is left as it is.
    """
    if not file.is_file():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}")
        if content["masks"] != masks:
            raise ValueError("the scan was segmented anew since")
        edits = [{**entry, "number": int(entry["number"])} for entry in content["edits"]]
        for entry in edits:
            apply_edit(session, entry)
        for name in content["accepted"]:
            session.accept(name)
    except (OSError, ValueError, KeyError, TypeError, MedlsamError) as error:
        raise UsageError(
            f"{file}: the corrections in it cannot be made again ({error}); move it away to begin anew"
        ) from error
    return edits


def state_of(session: Session) -> dict[str, Any]:
    """Every structure of a session, as JSON values for the page."""
    return {
        name: {
            **asdict(state),
            "box": None if state.box is None else state.box.to_dict(),
            "mask_bounds": None if state.mask_bounds is None else state.mask_bounds.to_dict(),
        }
        for name, state in session.structures.items()
    }
