"""What a session keeps and answers: clicks, versions of a structure, its state, and what an edit changed."""

from __future__ import annotations

from dataclasses import dataclass

from medlsam.geometry import Box, Vector
from medlsam.pipeline.session.mask import MaskPart


@dataclass(frozen=True)
class Click:
    """A point that a person clicked.

    Attributes:
        point: LPS mm.
        inside: whether it belongs to the structure.
    """

    point: Vector
    inside: bool = True


@dataclass(frozen=True, eq=False)
class Version:
    """One step in the history of a structure.

    Attributes:
        mask: on the canonical grid.
        box: where it was segmented, LPS mm, as somebody drew it, widened by clicks; None before that.
        clicks: in order.
        base: the mask and the box without clicks.
        absent: a person said that the scan does not hold it.
        number: edits of the session up to this one: where structures overlap, the later has the voxel.
        edits: edits of the structure that led here.
    """

    mask: MaskPart
    box: Box | None
    clicks: tuple[Click, ...]
    base: tuple[MaskPart, Box | None]
    absent: bool = False
    number: int = 0
    edits: int = 0


@dataclass(frozen=True)
class StructureState:
    """How a structure stands.

    Attributes:
        name: the structure.
        box: the box it is segmented in, LPS mm: what a page lets people drag. None where there is none yet.
        mask_bounds: the tight box of the mask as voxel extents, LPS mm; None where it has no voxel.
        volume_ml: of the mask on the canonical grid.
        edits: edits that led here; undone ones do not count.
        clicks: clicks that hold.
        accepted: whether a person took it as it is.
        absent: whether a person said that the scan does not hold it.
        can_undo: whether there is something to undo.
        can_redo: whether something was undone.
    """

    name: str
    box: Box | None
    mask_bounds: Box | None
    volume_ml: float
    edits: int
    clicks: tuple[Click, ...]
    accepted: bool
    absent: bool
    can_undo: bool
    can_redo: bool

    @property
    def said(self) -> tuple[int, int, str, float]:
        """Edits, clicks, what a person said of it, and volume in ml: a row of a table."""
        word = "absent" if self.absent else "accepted" if self.accepted else ""
        return self.edits, len(self.clicks), word, self.volume_ml


@dataclass(frozen=True)
class Edit:
    """What one edit changed.

    Attributes:
        name: the structure.
        action: ``move_box``, ``click``, ``undo``, ``redo``, ``clear_clicks`` or ``absent``.
        slices: numbers of the axial slices of the canonical grid (``Session.grid``; 0 is nearest the feet) whose
            mask changed.
        box: the tight box of the mask now, LPS mm; None where it has no voxel.
        volume_ml: of the mask now.
        seconds: that it took.
    """

    name: str
    action: str
    slices: tuple[int, ...]
    box: Box | None
    volume_ml: float
    seconds: float
