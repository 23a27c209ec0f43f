"""Read one scan, work on it, and write its files whole or not at all; errors are recorded, not raised."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from medlsam.batch.output import CaseRecord, CaseStatus, DoneCase, OutputFolder
from medlsam.batch.task import Run
from medlsam.errors import MedlsamError, VolumeError, WorkerError
from medlsam.io.cases import Case, read_case
from medlsam.runtime.log_notes import log_notes
from medlsam.runtime.stopwatch import Stopwatch
from medlsam.volume import Image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A scan to work on.

    Attributes:
        case: its name and where it lies.
        fingerprint: of the scan and of everything that its result depends on.
        shared: the part of it that all scans of a run have in common.
    """

    case: Case
    fingerprint: str
    shared: str


@dataclass(frozen=True)
class Outcome:
    """How the work on a scan ended. Small, since its files are written already.

    Attributes:
        case: the scan's name.
        record: for ``run.json``.
        done: what its marker holds; None where it failed.
    """

    case: str
    record: CaseRecord
    done: DoneCase | None = None


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan as read.

    Attributes:
        volume: HU.
        seconds: that reading took.
        notes: warnings of the reader.
    """

    volume: Image
    seconds: float
    notes: list[str]


def read_scan(case: Case) -> Scan:
    """Read a scan; time it and collect the reader's warnings.

    Raises:
        VolumeError: it cannot be read, or is no CT.
    """
    start = time.perf_counter()
    try:
        with log_notes() as notes:
            volume = read_case(case)
    except OSError as error:
        raise VolumeError(
            f"{case.path}: cannot be read ({error.strerror or error}); look at its permissions and its disk"
        ) from error
    except MemoryError as error:
        raise VolumeError(f"{case.path}: too large for the memory of this machine ({error})") from error
    return Scan(volume, time.perf_counter() - start, notes)


def one_scan(
    run: Run,
    folder: OutputFolder,
    item: Item,
    read: Callable[[], Scan],
    network: AbstractContextManager[object] | None = None,
) -> Outcome:
    """Work on one scan; an error is recorded and returned, not raised.

    Args:
        run: what to do.
        folder: where the result goes.
        item: the scan.
        read: gives it, or raises what reading raised.
        network: held while the networks work: where several threads read, one computes.
    """
    stopwatch, notes, scan = Stopwatch(), list[str](), None
    try:
        scan = read()
        stopwatch.seconds["read"] = scan.seconds
        notes += scan.notes
        with network or nullcontext(), log_notes(notes), folder.writing(item.case.name) as partial:
            result = run.work(run, scan.volume, item.case.name, partial, stopwatch)
            record = _record(item.case, "done", stopwatch.seconds, (*notes, *result.warnings))
            done = DoneCase(item.fingerprint, item.shared, record, list(result.statistics))
            folder.finish(item.case.name, done)
    except OSError as error:
        return failed(folder, item, _not_written(folder.path / item.case.name, error), stopwatch, notes)
    except Exception as error:
        # Writers say which of their files it was; a hidden one tells nobody anything.
        cause = error.__cause__
        if scan is not None and isinstance(cause, OSError):
            error = _not_written(folder.path / item.case.name, cause)
        return failed(folder, item, error, stopwatch, notes)
    return Outcome(item.case.name, record, done)


def _not_written(path: Path, error: OSError) -> WorkerError:
    return WorkerError(
        f"{path}: the results cannot be written ({error.strerror or error}); what is done stays: make room, or look "
        "at the folder's permissions, and give the same command again"
    )


def failed(
    folder: OutputFolder,
    item: Item,
    error: Exception,
    stopwatch: Stopwatch | None = None,
    notes: list[str] | None = None,
) -> Outcome:
    """The outcome of a scan that failed; an older result is removed, since it would pass for this run's."""
    text = " ".join(str(error).split()) or repr(error)
    details = {"type": type(error).__name__, "text": text}
    if not isinstance(error, MedlsamError):
        # Nobody foresaw it, so somebody will want to know where it happened.
        details["traceback"] = "".join(traceback.format_exception(error))
    with suppress(OSError):  # what cannot be removed is not taken for done: its marker goes first
        folder.discard(item.case.name)
    _log.info("%s failed: %s", item.case.name, text)
    seconds = stopwatch.seconds if stopwatch else {}
    return Outcome(item.case.name, _record(item.case, "failed", seconds, tuple(notes or ()), details))


def _record(
    case: Case,
    status: CaseStatus,
    seconds: Mapping[str, float],
    warnings: tuple[str, ...],
    error: Mapping[str, str] | None = None,
) -> CaseRecord:
    first = str(case.files[0].absolute()) if case.files else ""
    return CaseRecord(str(case.path.absolute()), status, seconds, warnings, error, first)
