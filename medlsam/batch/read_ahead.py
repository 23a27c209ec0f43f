"""Reading the next scan while the one before is worked on, and what is logged about each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medlsam.io.cases import Case
from medlsam.io.read import read_image
from medlsam.volume import Image


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as read.

    Attributes:
        volume: HU.
        seconds: that reading took.
        notes: what the reader warned of.
    """

    volume: Image
    seconds: float
    notes: list[str]


def read_scan(path: Path) -> Scan:
    """Read a scan, with the seconds that it took and what the reader warned of."""
    start = time.perf_counter()
    with noted() as notes:
        volume = read_image(path)
    return Scan(volume, time.perf_counter() - start, notes)


def read_ahead(cases: Sequence[Case]) -> Iterator[tuple[Case, Future[Scan]]]:
    """Each scan with its reading, which for the next one goes on while this one is worked on.

    Two scans are in memory at most: the caller must not keep them.
    """
    reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
    try:
        upcoming = reader.submit(read_scan, cases[0].path) if cases else None
        for index, case in enumerate(cases):
            current, upcoming = upcoming, None
            assert current is not None
            if index + 1 < len(cases):
                upcoming = reader.submit(read_scan, cases[index + 1].path)
            yield case, current
            del current
    finally:
        reader.shutdown(wait=False, cancel_futures=True)


class _Notes(logging.Handler):
    """Keeps the warnings that medlsam logs in one thread: a scan is read in another than the one at work."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.texts.append(record.getMessage())


@contextmanager
def noted(into: list[str] | None = None) -> Iterator[list[str]]:
    """The warnings logged by medlsam in this thread while the block runs, added to a list."""
    handler, logger = _Notes([] if into is None else into), logging.getLogger("medlsam")
    logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)
