"""How an edited structure appears in a result: the same values as for one that nobody touched."""

from __future__ import annotations

from dataclasses import replace

from medlsam.geometry import Grid
from medlsam.pipeline.session.values import Version
from medlsam.results import LocatedStructure


def located(
    known: LocatedStructure | None, name: str, version: Version, accepted: bool, grid: Grid
) -> LocatedStructure:
    """One structure's answer after a person's edits.

    Whom a person gave a box, or accepted, is ``found`` with confidence 1; one that is said not to be there is
    ``missing`` with confidence 1. A structure that was only clicked keeps its status and its confidence. ``details``
    count the edits and say whether it was accepted.

    Args:
        known: as the session began; None for a new structure.
        name: the structure.
        version: as it is now.
        accepted: whether a person took it.
        grid: canonical grid of the mask.
    """
    if known is not None and not version.edits and not accepted:
        return known
    own = known or LocatedStructure(name, "found", 1.0)
    details = {**own.details, "edits": float(version.edits), "accepted": float(accepted)}
    box = version.mask.box(grid)
    if version.absent or (accepted and box is None):
        return replace(own, status="missing", confidence=1.0, box=None, prompt_box=None, details=details)
    drawn = not own.present
    if accepted or drawn:
        own = replace(own, status="found", confidence=1.0)
    if drawn:
        own = replace(own, located_box=version.box, prompt_box=version.box)
        details["given"] = 1.0
    return replace(own, box=box or version.box, details=details)
