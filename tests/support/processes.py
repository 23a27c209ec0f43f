"""Looking for processes that a test has started (Linux)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def until(true: Callable[[], object]) -> None:
    """Wait, for two minutes at most: other tests may keep the processors busy."""
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def of_session(leader: int) -> list[int]:
    """All processes, also dead ones that nobody waited for, of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            session = int((place / "stat").read_text().rpartition(")")[2].split()[3])
        except OSError:  # it ended meanwhile
            continue
        if session == leader:
            found.append(int(place.name))
    return found
