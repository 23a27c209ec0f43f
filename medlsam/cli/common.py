"""What the commands share: messages to standard error, one JSON document to standard output, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from medlsam.errors import MedlsamError

if TYPE_CHECKING:
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.options import InferenceOptions
    from medlsam.pipeline.model import MedLSAM

P = ParamSpec("P")
R = TypeVar("R")

#: Some scans failed, the others are written.
SOME_FAILED = 1
#: The call itself is wrong; nothing is written.
WRONG_CALL = 2

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on standard output; all else on standard error."),
]


def messages() -> Console:
    """Where people are told things: standard error."""
    return Console(stderr=True, highlight=False)


def answers() -> Console:
    """Where a command's answer goes when people read it: standard output."""
    console = Console(highlight=False)
    # A file or a pipe has no width: tables are written whole.
    return console if console.is_terminal else Console(highlight=False, width=200)


def warn_of_misfits(console: Console, templates: TemplateSet) -> None:
    """Name every template that does not fit the others."""
    for issue in templates.issues:
        console.print(f"[bold yellow]warning:[/] {escape(issue.message)}", soft_wrap=True)


def load_model(options: InferenceOptions) -> MedLSAM:
    """The networks that a command's options name."""
    from medlsam.pipeline.model import load

    return load(
        options.localizer,
        options.segmenter,
        options.device,
        options.weights,
        options.cache,
        options.cache_gb,
        options.precision,
    )


def print_json(document: Any) -> None:
    """Print the one JSON document of ``--json``."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that medlsam raises on purpose into a message and exit code 2, without a traceback.

    A scan that fails is no exception (``segment_folder`` and its like report it), so what arrives here went
    wrong before any work began. With ``--json`` the error is the document.
    """

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except MedlsamError as error:
            if kwargs.get("as_json"):
                print_json(
                    {"error": {"type": type(error).__name__, "text": str(error)}, "exit_code": WRONG_CALL}
                )
            messages().print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(WRONG_CALL) from error

    return wrapper
