"""A scan of the pool that training draws from, and which others show the same patient at the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlsam.io.cases import Case
from medlsam.localize.pretrain.sampling_weights import Group, Patient


@dataclass(frozen=True)
class Member:
    """A scan to draw from.

    Attributes:
        shard: its file.
        weight: its share of the draws, relative.
        origin: the raw scan, or the seed of the phantom, that the shard is made from; None where a pool holds it.
        group: the collection and the region of the body, where the pool says them.
        phase: the number of its source and of its group of phases there; None for none.
        patient: where its source tells patients.
    """

    shard: Path
    weight: float
    origin: Case | int | None = None
    group: Group | None = None
    phase: tuple[int, int] | None = None
    patient: Patient | None = None


def partners(members: Sequence[Member]) -> list[list[int]]:
    """List the other scans of each one's group of phases, by index."""
    groups = defaultdict(list)
    for i, member in enumerate(members):
        if member.phase is not None:
            groups[member.phase].append(i)
    return [
        [] if member.phase is None else [other for other in groups[member.phase] if other != i]
        for i, member in enumerate(members)
    ]
