"""How long a scan takes, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Mean seconds from scan to scan since the first one was begun.

    Where several processes work at the same time, scans end in shorter intervals than each takes: what counts is how
    many end in a time, so the time left is right for any number of processes. Scans that were done before take no
    time and do not count.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._last = 0.0
        self._ended = 0

    @property
    def begun(self) -> bool:
        """Whether time is being taken."""
        return self._began is not None

    def begin(self) -> None:
        """The first scan begins; later calls change nothing."""
        if self._began is None:
            self._began = self._clock()

    def end(self) -> None:
        """A scan that was worked on has ended."""
        self.begin()
        self._ended += 1
        self._last = self._clock()

    @property
    def seconds(self) -> float | None:
        """Mean seconds from scan to scan; None before the first one has ended."""
        if self._began is None or not self._ended:
            return None
        return (self._last - self._began) / self._ended

    def left(self, remaining: int) -> float | None:
        """Seconds until so many further scans have ended; None before the first one has."""
        if self.seconds is None:
            return None
        return max(0.0, remaining * self.seconds - (self._clock() - self._last)) if remaining else 0.0

    def words(self, remaining: int) -> str:
        """Both in words; empty before the first scan has ended."""
        left = self.left(remaining)
        if self.seconds is None or left is None:
            return ""
        return f"{self.seconds:.1f} s a scan" + (f", {_clock_time(left)} left" if remaining else "")


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
