"""One run at a time over an output folder: a lock that the operating system lets go when its process ends.

A run holds a hidden file in the folder, ``.lock-run`` or, for part of the scans, ``.lock-shard-1-of-4``. What counts is
the lock on the file, not that it is there: one that a killed run left behind is not held, and is taken over. Parts of
one split may be at work together; everything else may not. The file ``.lock`` is held only for the moment in which a
run looks at the others and joins or leaves, so that two that start at once cannot miss each other.

Files are removed by their holder. That is safe, since whoever was waiting for a removed file sees that and opens the
new one (filelock does this).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medlsam.errors import UsageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: How the names of the files begin.
PREFIX = ".lock"
_WHOLE = f"{PREFIX}-run"
_PART = re.compile(re.escape(PREFIX) + r"-shard-(\d+)-of-(\d+)")
# A run joins or leaves in far less; a process that is stopped inside would be waited for so long.
_GATE_SECONDS = 30.0
# What file systems say that know no locks, or whose lock server does not answer.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Who is at work in a folder.

    Attributes:
        host: name of the machine.
        pid: of the process there.
        started: when, ISO 8601.
        command: the command line, as far as it says what runs.
    """

    host: str
    pid: int
    started: str
    command: str

    @classmethod
    def here(cls) -> Holder:
        """This process, now."""
        words = [Path(sys.argv[0]).name, *sys.argv[1:2]] if sys.argv else []
        return cls(
            socket.gethostname(),
            os.getpid(),
            datetime.now(UTC).isoformat(timespec="seconds"),
            " ".join(words),
        )


@contextmanager
def run_lock(folder: Path, shard: str | None = None) -> Iterator[bool]:
    """Have an output folder to oneself while the block runs; it is made, and removed again if it stays empty.

    Args:
        folder: the output folder.
        shard: ``i/n`` of a run over part of the scans: other parts of the same split may be at work there.

    Yields:
        Whether nobody else can be at work there: False for a shard, and on a file system that knows no locks.

    Raises:
        UsageError: another run is at work there (host, process and start are named), or the folder cannot be used.
    """
    name, locked = _name(shard), False
    made = _make(folder)
    try:
        with ExitStack() as stack:
            try:
                stack.enter_context(_held(folder, name))
                locked = True
            except NotImplementedError as error:
                _no_locks(folder, error)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise UsageError(
                        f"{error.filename or folder}: cannot be used for the output ({error.strerror or error})"
                    ) from error
                _no_locks(folder, error)
            yield locked and shard is None
    finally:
        for path in made:
            with suppress(OSError):  # not empty: something was written
                path.rmdir()


def _name(shard: str | None) -> str:
    if shard is None:
        return _WHOLE
    try:
        number, count = (int(part) for part in shard.split("/"))
    except ValueError as error:
        raise UsageError(f"shard {shard!r}: give i/n with i from 1 to n, for example 3/10") from error
    return f"{PREFIX}-shard-{number}-of-{count}"


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns those that were not there, the deepest first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be used for the output ({error.strerror or error})") from error
    return missing


def _no_locks(folder: Path, error: Exception) -> None:
    _log.warning(
        "%s: this file system knows no locks (%s), so nothing keeps a second run out of the folder; start only one",
        folder,
        error,
    )


@contextmanager
def _held(folder: Path, name: str) -> Iterator[None]:
    own = _lock(folder / name, 0)
    # Around all of it, since Ctrl-C may come at any line after the file is made.
    try:
        with _gate(folder, joins=True):
            for other in folder.glob(f"{PREFIX}-*"):
                if other.name != name and _meet(name, other.name):
                    # Not held: it was left by a run that was killed.
                    with _taken(other):
                        other.unlink(missing_ok=True)
            _acquire(own, folder / name)
            (folder / name).write_text(json.dumps(asdict(Holder.here())), encoding="utf-8")
        yield
    finally:
        if own.is_locked:
            _leave(folder, name, own)


def _leave(folder: Path, name: str, own: BaseFileLock) -> None:
    try:
        with _gate(folder):
            (folder / name).unlink(missing_ok=True)
            if not any(folder.glob(f"{PREFIX}-*")):
                (folder / PREFIX).unlink(missing_ok=True)
    except OSError as error:  # it would hide how the run ended
        _log.info("%s: the files of the lock stay (%s)", folder, error)
    finally:
        own.release()


def _meet(one: str, other: str) -> bool:
    """Whether two runs may get the same scan: all but parts of one split may."""
    a, b = _PART.fullmatch(one), _PART.fullmatch(other)
    return a is None or b is None or a[2] != b[2]


@contextmanager
def _gate(folder: Path, joins: bool = False) -> Iterator[None]:
    lock = _lock(folder / PREFIX, _GATE_SECONDS)
    try:
        lock.acquire()
    except FileNotFoundError:
        if not joins:
            raise
        # Another run has just left, and taken the folder with it that it had made.
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _taken(path: Path) -> Iterator[None]:
    lock = _lock(path, 0)
    _acquire(lock, path)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> None:
    """Take the lock on a run's file.

    Raises:
        UsageError: somebody holds it.
    """
    try:
        lock.acquire()
    except TimeoutError as error:
        raise UsageError(_busy(path)) from error


def _lock(path: Path, timeout: float) -> BaseFileLock:
    # Here: only a run needs it.
    from filelock import FileLock

    # Without locks of the system, a file that says "held" would stay after a kill.
    return FileLock(path, timeout=timeout, thread_local=False, fallback_to_soft=False)


def _busy(path: Path) -> str:
    part = _PART.fullmatch(path.name)
    what = f"shard {part[1]}/{part[2]} of a run" if part else "another run"
    who = _holder(path)
    told = (
        ""
        if who is None
        else f" ({who.command or 'python'}, process {who.pid} on {who.host}, since {who.started})"
    )
    return (
        f"{path.parent}: {what} is at work in this folder{told}; wait until it ends, end it, or give another output "
        "folder. Only different shards of one split (--shard 1/4, 2/4, ...) may share a folder"
    )


def _holder(path: Path) -> Holder | None:
    """Who wrote a run's file; None where that cannot be read (yet)."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**content)
    except (OSError, ValueError, TypeError):
        return None
