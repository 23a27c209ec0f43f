"""The work on one scan, in whichever process: whole files are written, and what goes wrong is on record."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from medlsam.batch.output import CaseRecord, DoneCase, OutputFolder
from medlsam.batch.read_ahead import Scan, noted
from medlsam.batch.task import Run
from medlsam.errors import MedlsamError
from medlsam.io.cases import Case
from medlsam.runtime.stopwatch import Stopwatch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A scan to work on.

    Attributes:
        case: its name and where it lies.
        fingerprint: of the scan and of all that its result depends on.
        shared: the part of it that all scans of a run have in common.
    """

    case: Case
    fingerprint: str
    shared: str


@dataclass(frozen=True)
class Outcome:
    """How the work on a scan ended: small, since its files are written already.

    Attributes:
        case: the scan's name.
        record: for ``run.json``.
        done: what its marker holds; None where it failed.
    """

    case: str
    record: CaseRecord
    done: DoneCase | None = None


#: Works on the scans, in whatever order they end; called with what is to be told the name of a scan that begins.
Outcomes = Callable[[Callable[[str], None]], Iterator[Outcome]]


def one_scan(
    run: Run,
    folder: OutputFolder,
    item: Item,
    read: Callable[[], Scan],
    network: AbstractContextManager[object] | None = None,
) -> Outcome:
    """Work on one scan; what goes wrong with it is recorded and returned, not raised.

    Args:
        run: what to do.
        folder: where the result goes.
        item: the scan.
        read: gives it, or raises what reading raised.
        network: held while the networks work: where several threads read, one computes.
    """
    watch, notes, path = Stopwatch(), list[str](), str(item.case.path.absolute())
    try:
        scan = read()
        watch.seconds["read"] = scan.seconds
        notes += scan.notes
        with network or nullcontext(), noted(notes), folder.writing(item.case.name) as partial:
            answer = run.work(run, scan.volume, item.case.name, partial, watch)
            record = CaseRecord(path, "done", watch.seconds, (*notes, *answer.warnings))
            done = DoneCase(item.fingerprint, item.shared, record, list(answer.statistics))
            folder.finish(item.case.name, done)
    except Exception as error:
        return failed(folder, item, error, watch, notes)
    return Outcome(item.case.name, record, done)


def failed(
    folder: OutputFolder,
    item: Item,
    error: Exception,
    watch: Stopwatch | None = None,
    notes: list[str] | None = None,
) -> Outcome:
    """The outcome of a scan that went wrong; an older result goes, it would pass for this run's."""
    text = " ".join(str(error).split()) or repr(error)
    details = {"type": type(error).__name__, "text": text}
    if not isinstance(error, MedlsamError):
        # Nobody foresaw it, so somebody will want to know where it was.
        details["traceback"] = "".join(traceback.format_exception(error))
    folder.discard(item.case.name)
    _log.info("%s failed: %s", item.case.name, text)
    seconds = watch.seconds if watch else {}
    record = CaseRecord(str(item.case.path.absolute()), "failed", seconds, tuple(notes or ()), details)
    return Outcome(item.case.name, record)
