"""What can be undone in one scan, in memory: the answers before each change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medlsam.viewer.annotate.marks import StructureMarks

Answers = Mapping[str, StructureMarks]
#: Older changes cannot be undone any more.
_MOST = 500


@dataclass
class History:
    """The answers before each change of a scan, and those that were undone."""

    before: list[Answers] = field(default_factory=list)
    undone: list[Answers] = field(default_factory=list)

    def changed(self, answers: Answers) -> None:
        """Remember the answers from before a change; what was undone cannot be done again any more."""
        self.before = [*self.before, answers][-_MOST:]
        self.undone = []

    def back(self, answers: Answers) -> None:
        """One change was undone; these were the answers before that."""
        self.before.pop()
        self.undone.append(answers)

    def forth(self, answers: Answers) -> None:
        """One change was done again; these were the answers before that."""
        self.undone.pop()
        self.before.append(answers)

    def rename(self, old: str, new: str) -> None:
        """Give a structure another name in all of them."""
        for stack in (self.before, self.undone):
            stack[:] = [renamed(answers, old, new) for answers in stack]

    def clear(self) -> None:
        """Forget everything."""
        self.before, self.undone = [], []


def renamed(answers: Answers, old: str, new: str) -> dict[str, StructureMarks]:
    """The same answers with another name for a structure, in its place."""
    return {new if name == old else name: marks for name, marks in answers.items()}
