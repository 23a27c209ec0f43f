"""Shared by the commands: messages to standard error, one JSON document to standard output, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from medlsam.cli.progress import CaseBar, case_bar, tell_result
from medlsam.cli.shared.failures import SOME_FAILED, WRONG_CALL, Interrupted, passes, told
from medlsam.cli.shared.loudness import loudness

if TYPE_CHECKING:
    from medlsam.batch import BatchResult, Progress
    from medlsam.batch.task import Command
    from medlsam.io.cases import Case
    from medlsam.localize.templates.template_set import TemplateSet
    from medlsam.options import InferenceOptions
    from medlsam.pipeline.model import MedLSAM

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["SOME_FAILED", "WRONG_CALL"]

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on standard output; all else on standard error."),
]


def messages() -> Console:
    """Messages for people: standard error; nothing with ``--quiet``."""
    return Console(stderr=True, highlight=False, quiet=loudness() == "quiet")


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
    options: InferenceOptions, path: Path, bar: CaseBar, cases: str | None = None, adapt: bool = False
) -> tuple[MedLSAM, TemplateSet]:
    """Load the networks that a command's options name, and its templates.

    Args:
        options: of the command.
        path: a template file or a templates folder.
        bar: shows which template is read.
        cases: only these templates of a folder; see ``MedLSAM.templates``.
        adapt: likewise.
    """
    from medlsam.pipeline.model import load

    model = load(options)
    bar.say("templates")
    return model, model.templates(path, options.locate.organs, cases, on_progress=bar.say, adapt=adapt)


def over_scans(
    function: Callable[..., BatchResult],
    support: Path,
    images: Path,
    output: Path,
    options: InferenceOptions,
    *,
    shard: str | None,
    dry_run: bool,
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
        dry_run: only say what would be done.
        as_json: print the result as JSON.
        wrote: named in the last message.
        **more: further arguments of ``function``.
    """
    from medlsam.io.cases import find_cases, take_shard
    from medlsam.runtime.log_notes import log_notes

    with log_notes() as notes:
        cases = find_cases(images)
        take_shard(cases, shard)  # a shard that cannot be is refused before the networks are loaded
    console = messages()
    if dry_run:
        _foresee(function, support, cases, output, options, notes, shard, as_json, more)
    with case_bar(console) as bar:
        model, templates = load_with_templates(options, support, bar)
        warn_of_misfits(console, templates)
        done: set[str] = set()

        def tell(progress: Progress) -> None:
            done.update([progress.case] if progress.status in ("done", "skipped") else [])
            bar.scan(progress)

        try:
            result = function(
                model,
                templates,
                cases,
                output,
                options=options,
                on_progress=tell,
                notes=notes,
                shard=shard,
                **more,
            )
        except KeyboardInterrupt as error:
            raise Interrupted(len(done), len(take_shard(cases, shard))) from error
    tell_result(console, result, wrote)
    if as_json:
        print_json(result.to_dict())
    raise typer.Exit(result.exit_code)


def _foresee(
    function: Callable[..., BatchResult],
    support: Path,
    cases: Sequence[Case],
    output: Path,
    options: InferenceOptions,
    notes: Sequence[str],
    shard: str | None,
    as_json: bool,
    more: dict[str, Any],
) -> NoReturn:
    """Say what ``function`` would do; exits."""
    from medlsam.cli.shared.dry_run import document, dry_run, show
    from medlsam.pipeline.model import load

    command: Command = "segment" if function.__name__ == "segment_folder" else "localize"
    found, templates = dry_run(load(options), command, support, cases, output, options, notes, shard, more)
    for warning in found.warnings:
        messages().print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if as_json:
        print_json(document(found, templates))
    else:
        show(answers(), found, templates)
    raise typer.Exit


def print_json(document: Any) -> None:
    """Print the one JSON document of ``--json``."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    # Bytes of a file's name that are no text become escapes, which a reader of JSON turns back.
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


def report_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn what goes wrong into a message and an exit code, without a traceback (see ``shared.failures``).

    A scan that fails is no exception (``segment_folder`` and its like report it), so an error that medlsam raised on
    purpose and that arrives here happened before any work began. With ``--json`` the error is the document.
    """

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:
            if passes(error):
                raise
            document, exit_code = told(error, bool(kwargs.get("verbose")))
            if kwargs.get("as_json"):
                print_json(document)
            raise typer.Exit(exit_code) from error

    return wrapper
