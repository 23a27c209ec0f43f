"""A source of scans for pretraining, as the configuration describes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from medlsam.errors import UsageError


@dataclass
class PoolSource:
    """A pool of ``medlsam pool build``, or a folder of raw scans as ``--images`` takes it.

    Labels are never read.

    Attributes:
        path: the folder.
        weight: share of the draws, relative to the other sources'.
        cases: ``FILE.json`` or ``FILE.json:key``, a list of case names to keep; all where None. Scans of a pool go by
            their case or their name.
        exclude: case names to leave out.
        phases: groups of scans, by the same names, that show one patient at one time in several contrast phases. The
            grids of a group may begin apart; places are compared by their origins, in LPS mm.
    """

    path: str
    weight: float = 1.0
    cases: str | None = None
    exclude: list[str] = field(default_factory=list)
    phases: list[list[str]] = field(default_factory=list)

    def phase_of(self, held: Iterable[set[str]]) -> dict[str, int]:
        """Number the group of each name in ``phases``.

        Args:
            held: the names of each scan of the source.

        Raises:
            UsageError: a name that no scan has, or that stands twice.
        """
        known = set().union(*held)
        numbers: dict[str, int] = {}
        for number, group in enumerate(self.phases):
            for name in group:
                if name not in known:
                    raise UsageError(f"{self.path}: phases names {name}, but no scan here is called so")
                if name in numbers:
                    raise UsageError(f"{self.path}: phases names {name} twice; a scan is of one group")
                numbers[name] = number
        return numbers
