"""Warnings about one scan are collected where it is read, whatever other threads say."""

from __future__ import annotations

import logging
import threading

from medlsam.runtime.log_notes import log_notes


def test_notes_are_those_of_their_own_thread() -> None:
    logger = logging.getLogger("medlsam.test")
    with log_notes() as notes:
        logger.warning("mine")
        logger.info("not a warning")
        other = threading.Thread(target=logger.warning, args=("another's",))
        other.start()
        other.join()
    logger.warning("late")
    assert notes == ["mine"]


def test_notes_are_added_to_a_list() -> None:
    texts = ["before"]
    with log_notes(texts) as notes:
        logging.getLogger("medlsam.io.read").warning("%s: a slice is missing", "a")
    assert notes is texts
    assert texts == ["before", "a: a slice is missing"]
