"""What goes wrong, as one line and an exit code; a traceback only for whoever asks for it."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from medlsam._version import __version__
from medlsam.errors import MedlsamError

#: Some scans failed, the others are written; or something happened that nobody foresaw.
SOME_FAILED = 1
#: The call itself is wrong; nothing is written.
WRONG_CALL = 2
#: Ctrl-C, as shells count it: 128 and the signal's number.
INTERRUPTED = 130

#: Set to 1, it shows the traceback of what nobody foresaw.
TRACEBACK = "MEDLSAM_TRACEBACK"
_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in a run over many scans.

    Args:
        done: scans that are finished, also by earlier runs.
        total: scans of the run.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__()
        self.done = done
        self.total = total


def errors() -> Console:
    """Errors for people: standard error, also with ``--quiet``."""
    return Console(stderr=True, highlight=False)


def told(error: BaseException, verbose: bool = False) -> tuple[dict[str, Any], int]:
    """Print an error in one line.

    Args:
        error: what a command raised.
        verbose: print the traceback of what nobody foresaw.

    Returns:
        The document for ``--json``, and the exit code.
    """
    if isinstance(error, KeyboardInterrupt):
        return _interrupted(error)
    words = " ".join(str(error).split()) or type(error).__name__
    found: dict[str, Any] = {"type": type(error).__name__, "text": words}
    code = WRONG_CALL
    if not isinstance(error, MedlsamError):
        code = SOME_FAILED
        if isinstance(error, OSError) and error.errno in _PLACE:
            words = f"{error.filename or 'a file'}: cannot be written ({error.strerror}); run the same command again"
            found["text"] = words
        else:
            words, found["traceback"] = _unforeseen(error, verbose)
    errors().print(f"[bold red]error:[/] {escape(words)}", soft_wrap=True)
    return {"error": found, "exit_code": code}, code


def _interrupted(error: KeyboardInterrupt) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {"interrupted": True, "exit_code": INTERRUPTED}
    words = "interrupted"
    if isinstance(error, Interrupted):
        found |= {"done": error.done, "total": error.total}
        words += f": {error.done} of {error.total} done; run the same command again to go on"
    errors().print(words, soft_wrap=True)
    return found, INTERRUPTED


def _unforeseen(error: BaseException, verbose: bool) -> tuple[str, str | None]:
    """What to say of an error that nobody foresaw, and where its traceback is."""
    text = "".join(traceback.format_exception(error))
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if verbose or os.environ.get(TRACEBACK, "") not in ("", "0"):
        errors().print(text, markup=False, soft_wrap=True, end="")
        return f"{words} (nobody foresaw this; please report it with the lines above)", None
    place = _saved(text)
    where = f"what is in {place}" if place else f"the traceback ({TRACEBACK}=1 shows it)"
    return (
        f"{words} (nobody foresaw this; please report it with {where} and what `medlsam info` prints)",
        str(place) if place else None,
    )


def _saved(text: str) -> Path | None:
    """Write a traceback where it does not disturb; None where nothing can be written."""
    head = f"medlsam {__version__}\n{shlex.join(sys.argv)}\n\n"
    try:
        handle, name = tempfile.mkstemp(prefix="medlsam-traceback-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(head + text)
    except OSError:
        return None
    return Path(name)


def passes(error: BaseException) -> bool:
    """Whether an exception is typer's own, or of a reader that went away, which typer knows how to end."""
    return isinstance(error, typer.Exit | typer.Abort | typer.BadParameter | BrokenPipeError)
