"""The warnings that medlsam logs about one scan, collected so that they can go on its record."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Collector(logging.Handler):
    """Keeps the warnings of one thread: a scan may be read in another than the one that is at work."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.texts = texts

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.texts.append(record.getMessage())


@contextmanager
def log_notes(into: list[str] | None = None) -> Iterator[list[str]]:
    """Collect the warnings that medlsam logs in this thread while the block runs.

    Python prints them to standard error only where nobody collects them; a program's own handlers get them as well.

    Args:
        into: the list to add to; a new one if None.
    """
    collector, logger = _Collector([] if into is None else into), logging.getLogger("medlsam")
    logger.addHandler(collector)
    try:
        yield collector.texts
    finally:
        logger.removeHandler(collector)
