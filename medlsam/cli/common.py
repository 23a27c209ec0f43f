"""Shared by the commands: messages to standard error, one JSON document to standard output, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from medlsam.cli.progress import CaseBar, case_bar, tell_result
from medlsam.errors import MedlsamError

if TYPE_CHECKING:
    from medlsam.batch import BatchResult
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
    """Messages for people: standard error."""
    return Console(stderr=True, highlight=False)


def answers() -> Console:
    """A command's answer when people read it: standard output."""
    console = Console(highlight=False)
    # A file or a pipe has no width: tables are written whole.
    return console if console.is_terminal else Console(highlight=False, width=200)


def warn_of_misfits(console: Console, templates: TemplateSet) -> None:
    """Name every template that does not fit the others."""
    for issue in templates.issues:
        console.print(f"[bold yellow]warning:[/] {escape(issue.message)}", soft_wrap=True)


def load_with_templates(
    options: InferenceOptions, path: Path, bar: CaseBar, cases: str | None = None
) -> tuple[MedLSAM, TemplateSet]:
    """Load the networks that a command's options name, and its templates.

    Args:
        options: of the command.
        path: a template file or a templates folder.
        bar: shows which template is read.
        cases: only these templates of a folder; see ``MedLSAM.templates``.
    """
    from medlsam.pipeline.model import load

    model = load(options)
    bar.say("templates")
    return model, model.templates(path, options.locate.organs, cases, on_progress=bar.say)


def over_scans(
    function: Callable[..., BatchResult],
    support: Path,
    images: Path,
    output: Path,
    options: InferenceOptions,
    *,
    shard: str | None,
    as_json: bool,
    wrote: Path,
    **more: Any,
) -> NoReturn:
    """The common body of the commands that work on many scans; exits.

    Args:
        function: ``segment_folder`` or ``localize_folder``.
        support: the templates.
        images: the scans.
        output: the folder to write to.
        options: of inference.
        shard: take only this part of the scans, ``i/n``.
        as_json: print the result as JSON.
        wrote: named in the last message.
        **more: further arguments of ``function``.
    """
    from medlsam.io.cases import find_cases, take_shard
    from medlsam.runtime.log_notes import log_notes

    with log_notes() as notes:
        cases = take_shard(find_cases(images), shard)
    console = messages()
    with case_bar(console) as bar:
        model, templates = load_with_templates(options, support, bar)
        warn_of_misfits(console, templates)
        result = function(
            model, templates, cases, output, options=options, on_progress=bar.scan, notes=notes, **more
        )
    tell_result(console, result, wrote)
    if as_json:
        print_json(result.to_dict())
    raise typer.Exit(result.exit_code)


def print_json(document: Any) -> None:
    """Print the one JSON document of ``--json``."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that medlsam raises on purpose into a message and exit code 2, without a traceback.

    A scan that fails is no exception (``segment_folder`` and its like report it), so an error that arrives here
    happened before any work began. With ``--json`` the error is the document.
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
