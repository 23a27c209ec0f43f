"""The versions of one structure: an edit adds one, undo and redo go to and fro."""

from __future__ import annotations

from dataclasses import dataclass

from medlsam.errors import UsageError
from medlsam.geometry import Grid
from medlsam.pipeline.session.values import StructureState, Version


@dataclass
class History:
    """The versions of one structure, and which of them holds.

    Attributes:
        versions: from how the session began; undone ones stay until the next edit.
        at: place of the one that holds.
        accepted: whether a person took it as it is.
    """

    versions: list[Version]
    at: int = 0
    accepted: bool = False

    @property
    def now(self) -> Version:
        """The version that holds."""
        return self.versions[self.at]

    def add(self, version: Version) -> None:
        """Add an edit; what was undone before is gone."""
        self.versions = [*self.versions[: self.at + 1], version]
        self.at += 1
        self.accepted = False

    def step(self, name: str, action: str, step: int) -> None:
        """Go to another version.

        Raises:
            UsageError: there is none.
        """
        if not 0 <= self.at + step < len(self.versions):
            raise UsageError(f"{name}: there is nothing to {action}")
        self.at += step
        self.accepted = False

    def state(self, name: str, grid: Grid) -> StructureState:
        """How the structure stands; ``grid`` is that of its masks."""
        now = self.now
        return StructureState(
            name,
            now.box,
            now.mask.box(grid),
            now.mask.voxels * grid.voxel_ml,
            now.edits,
            now.clicks,
            self.accepted,
            now.absent,
            can_undo=self.at > 0,
            can_redo=self.at + 1 < len(self.versions),
        )
