"""What a run is going to do: which scans, which of them are done, and why the others are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medlsam.batch.output import DoneCase
from medlsam.io.cases import Case


@dataclass(frozen=True)
class Plan:
    """The work of a run, before anything is written.

    Attributes:
        structures: what is looked for: name to label value.
        description: the head of ``run.json``.
        shared: the run's part of a fingerprint.
        known: the finished cases that lie in the folder, also of other scans.
        skipped: scans that are done and unchanged.
        waiting: scan to the fingerprint of its result.
        cases: all of them in their order.
        warnings: about the scans that were found.
    """

    structures: Mapping[str, int]
    description: dict[str, Any]
    shared: str
    known: Mapping[str, DoneCase]
    skipped: Sequence[Case]
    waiting: Mapping[Case, str]
    cases: Sequence[Case]
    warnings: Sequence[str] = ()
