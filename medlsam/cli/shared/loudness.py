"""``--quiet`` and ``--verbose``: one pair of flags for all commands that run long, and what was asked for."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Annotated, Any, Literal

import typer

from medlsam.errors import UsageError

#: ``quiet``: errors only. ``usual``: a bar, warnings, errors, last words. ``verbose``: a line a scan, and the log.
Loudness = Literal["quiet", "usual", "verbose"]

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel="Messages")
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Say what is done with each scan, with seconds and statuses, and the log of this process.",
        rich_help_panel="Messages",
    ),
]
_now: ContextVar[Loudness] = ContextVar("loudness", default="usual")


def loudness() -> Loudness:
    """How much the command that runs is to say."""
    return _now.get()


def talkative(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags ``--quiet`` and ``--verbose``; it asks ``loudness`` what to say."""

    @wraps(command)
    def with_flags(**given: Any) -> None:
        quiet, verbose = given.pop("quiet"), given.pop("verbose")
        if quiet and verbose:
            raise UsageError("quiet and verbose: give one of the two")
        with _speaking("quiet" if quiet else "verbose" if verbose else "usual"):
            command(**given)

    signature = inspect.signature(command, eval_str=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [parameter.replace(kind=keyword) for parameter in signature.parameters.values()]
    own += [
        inspect.Parameter(name, keyword, default=False, annotation=annotation)
        for name, annotation in (("quiet", Quiet), ("verbose", Verbose))
    ]
    with_flags.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return with_flags


@contextmanager
def _speaking(how: Loudness) -> Iterator[None]:
    token = _now.set(how)
    logger = logging.getLogger("medlsam")
    level, handler = logger.level, _handler(how)
    if handler is not None:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if how == "verbose":
                logger.setLevel(logging.DEBUG)
            if how == "quiet":
                warnings.simplefilter("ignore")
            yield
    finally:
        _now.reset(token)
        logger.setLevel(level)
        if handler is not None:
            logger.removeHandler(handler)


def _handler(how: Loudness) -> logging.Handler | None:
    if how == "quiet":
        # Python prints warnings that nobody takes.
        return logging.NullHandler()
    if how == "verbose":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        return handler
    return None
