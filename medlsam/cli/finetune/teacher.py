"""``medlsam finetune --teacher``: the flags of distillation, and what they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from medlsam.cli.common import SOME_FAILED, answers, messages, print_json
from medlsam.cli.finetune.table import agreement_table
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import weights
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import loudness
from medlsam.errors import UsageError
from medlsam.segment.distill.options import DistillOptions
from medlsam.segment.finetune.options import FinetuneOptions

_PANEL = "A teacher in place of labels"
_DEFAULT = DistillOptions()
_SHARED = {item.name for item in fields(FinetuneOptions)} & {item.name for item in fields(DistillOptions)}
#: Flags that only labels give a meaning to.
_OF_LABELS = ("cycle", *(item.name for item in fields(FinetuneOptions) if item.name not in _SHARED))

_OWN: dict[str, tuple[Any, Any]] = {
    "teacher": (
        str | None,
        typer.Option(
            help="Learn the masks of this whole-slice model, on scans without labels; trains the whole of sam-tiny.",
            metavar="NAME",
            autocompletion=weights("segmenter"),
        ),
    ),
    "teacher_weights": (
        Path | None,
        typer.Option(help="The teacher's weights; else those of the weights' cache.", metavar="FILE"),
    ),
    "support": (
        Path | None,
        typer.Option(
            help="Templates: their structures are located, and the teacher segments these too.",
            metavar="PATH",
        ),
    ),
}


def help_of(name: str, words: str) -> str:
    """Add to a training flag's help what its default is with a teacher, where that is another one."""
    if name not in _SHARED or getattr(_DEFAULT, name) == getattr(FinetuneOptions(), name):
        return words
    return f"{words} With --teacher {getattr(_DEFAULT, name):g}{' crops' if name == 'batch_size' else ''}."


def or_teacher(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of distillation; where ``--teacher`` is given, distil in its place."""
    options = {item.name: item for item in fields(DistillOptions) if item.name not in _SHARED}

    @wraps(command)
    def with_teacher(**given: Any) -> None:
        context: typer.Context = given.pop("context")
        said = {n for n in given if getattr(context.get_parameter_source(n), "name", "") == "COMMANDLINE"}
        own = {name: given.pop(name) for name in _OWN}
        training = {name: given.pop(name) for name in options}
        if own["teacher"] is None:
            if lonely := [name for name in (*_OWN, *options) if name in said]:
                raise UsageError(f"{_flags(lonely)} only with --teacher, which says whose masks are learned")
            command(**given)
            return
        refuse = [name for name in _OF_LABELS if name in said]
        if "organs" in said and own["support"] is None:
            refuse.append("organs")
        if refuse:
            raise UsageError(
                f"{_flags(refuse)} only with labels, and --teacher learns without; leave one of them out"
                + (" (--organs chooses among the structures of --support)" if "organs" in refuse else "")
            )
        training |= {name: given[name] for name in _SHARED if name in said}
        _distill(given, own, DistillOptions(**training))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        parameter.replace(kind=keyword)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
    ]
    for name, (kind, flag) in _OWN.items():
        flag.rich_help_panel, flag.show_default = _PANEL, False
        parameters.append(inspect.Parameter(name, keyword, default=None, annotation=Annotated[kind, flag]))
    for name, item in options.items():
        flag = typer.Option(
            help=item.metadata["help"], metavar=item.metadata["metavar"], rich_help_panel=_PANEL
        )
        kind = item.metadata["flag"]
        parameters.append(
            inspect.Parameter(name, keyword, default=item.default, annotation=Annotated[kind, flag])
        )
    parameters.append(inspect.Parameter("context", keyword, annotation=typer.Context))
    with_teacher.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_teacher


def _flags(names: list[str]) -> str:
    words = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    return f"{words} {'goes' if len(names) == 1 else 'go'}"


def _distill(given: dict[str, Any], own: dict[str, Any], options: DistillOptions) -> None:
    """Distil, and tell what came of it."""
    from medlsam.segment.distill.run import distill

    console, output = messages(), given["output"]
    with case_bar(console) as bar:
        located = None
        if own["support"] is not None:
            from medlsam.pipeline.located_prompts import located_prompts
            from medlsam.pipeline.model import load

            bar.say("templates")
            model = load(device=given["device"])
            organs = given["organs"]
            chosen = None if organs is None else [n.strip() for n in organs.split(",") if n.strip()]
            located = located_prompts(model, model.templates(own["support"], chosen, on_progress=bar.say))
        done = distill(
            given["labelled"],
            output,
            teacher=own["teacher"],
            teacher_weights=own["teacher_weights"],
            segmenter=given["segmenter"],
            cases=given["cases"],
            held_out=given["held_out"],
            patients=given["patients"],
            located=located,
            overwrite=given["overwrite"],
            options=options,
            device=given["device"],
            cache=given["cache"],
            on_progress=bar.say,
            on_note=lambda text: console.print(escape(text), soft_wrap=True),
        )
    console.print(escape(f"wrote {output}: use it with --segmenter {output}"), soft_wrap=True)
    if not done.better:
        console.print(
            "[bold yellow]warning:[/] on the held-out patients it agrees no better with the teacher than the weights "
            f"that it began with ({escape(str(given['segmenter']))}); keep those, or give more scans, slices or steps",
            soft_wrap=True,
        )
    console.print(
        escape(f"{done.cache} keeps the teacher's masks for another run; delete it where there will be none"),
        soft_wrap=True,
    )
    if given["as_json"]:
        print_json({"file": str(output), **done.record})
    else:
        answers().print(agreement_table(done.record))
    for name, why in done.failed.items() if loudness() == "quiet" else ():
        # what fails is always said; else it was said already
        errors().print(f"[bold red]failed:[/] {escape(name)}: {escape(why)}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(SOME_FAILED)
