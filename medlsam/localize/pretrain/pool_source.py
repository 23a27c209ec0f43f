"""A source of scans for pretraining, as the configuration describes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
        phases: groups of scans, by the same names (a case means all of its scans), that show one patient at one time in
            several contrast phases. The grids of a group may begin apart; places are compared by their origins, in LPS
            mm.
        patient: a regular expression; the part of a case's name that it matches (its first group, or all of the match)
            is the patient. Every patient is drawn equally often, however many scans there are of it. A case that does
            not match is a patient of its own. Every scan is drawn equally often where None.
    """

    path: str
    weight: float = 1.0
    cases: str | None = None
    exclude: list[str] = field(default_factory=list)
    phases: list[list[str]] = field(default_factory=list)
    patient: str | None = None

    def phase_of(self, held: Iterable[Iterable[str]]) -> dict[str, int]:
        """Number the group of each name in ``phases``.

        Args:
            held: the names of each scan of the source.

        Raises:
            UsageError: a name that no scan has, or that stands twice.
        """
        known = {name for names in held for name in names}
        numbers: dict[str, int] = {}
        for number, group in enumerate(self.phases):
            for name in group:
                if name not in known:
                    raise UsageError(f"{self.path}: phases names {name}, but no scan here is called so")
                if name in numbers:
                    raise UsageError(f"{self.path}: phases names {name} twice; a scan is of one group")
                numbers[name] = number
        return numbers

    def patient_of(self, cases: Sequence[str]) -> list[str | None]:
        """Tell the patients of cases by their names; None for all where there is no expression.

        Raises:
            UsageError: ``patient`` is no regular expression.
        """
        if self.patient is None:
            return [None] * len(cases)
        try:
            pattern = re.compile(self.patient)
        except re.error as error:
            raise UsageError(
                f"{self.path}: patient is no regular expression: {self.patient!r} ({error})"
            ) from error
        group = min(pattern.groups, 1)
        found = [match[group] if (match := pattern.search(case)) else None for case in cases]
        # A case that does not match is never taken for the patient of another one.
        return [
            f"case {case}" if name is None else f"patient {name}"
            for case, name in zip(cases, found, strict=True)
        ]
