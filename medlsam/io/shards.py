"""A share of the scans, for arrays of jobs that have nothing but the folders in common."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medlsam.errors import UsageError
from medlsam.io.cases import Case


def take_shard(cases: Sequence[Case], shard: str | None) -> list[Case]:
    """Every n-th scan, beginning with the i-th: neighbours in a folder are often alike, also in size.

    Args:
        cases: all scans, in the same order wherever this is called.
        shard: ``i/n`` with i from 1 to n; None for all scans.

    Raises:
        UsageError: not of that form, or more shards than scans, so that this one is empty.
    """
    if shard is None:
        return list(cases)
    match = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"shard {shard!r}: give i/n with i from 1 to n, for example 3/10")
    taken = list(cases[number - 1 :: count])
    if not taken:
        raise UsageError(f"shard {shard}: there are {len(cases)} scans only, so this shard has none")
    return taken
