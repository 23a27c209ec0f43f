"""``medlsam data``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import data_bar
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import UsageError

if TYPE_CHECKING:
    from medlsam.data import DataSource, PrepareResult


def _names(context: typer.Context, incomplete: str) -> list[str]:
    from medlsam.data import SOURCES

    return [name for name in SOURCES if name.startswith(incomplete)]


@report_errors
@talkative
def data(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A name of `medlsam data --list`.",
            metavar="NAME",
            show_default=False,
            autocompletion=_names,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The dataset is made in this folder, as Dataset###_<Name>.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Your own copy, a folder or a zip: nothing is fetched.",
            metavar="COPY",
            show_default=False,
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="A folder with the published file to take it from (or MEDLSAM_MIRROR); its sum is checked all the "
            "same.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    list_them: Annotated[
        bool,
        typer.Option("--list", help="Print the known data sets with their licences, and do nothing else."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Lay a public data set out as an nnU-Net dataset, fetched where that is allowed, else from your own copy.

    Says the licence first. Interrupted, the same call goes on. Exit code 1: some cases could not be read, the others
    are written.
    """
    from medlsam.data import SOURCES, prepare
    from medlsam.data.sources import source_of

    if list_them:
        _list(as_json)
        return
    if name is None or output is None:
        raise UsageError(
            f"give a data set and a folder: medlsam data NAME --output DIR; the data sets are: {', '.join(SOURCES)}"
        )
    console = messages()
    about = source_of(name)
    # Whoever uses the data accepts it, so it is said also with --quiet.
    _tell_licence(errors(), about)
    with data_bar(console) as on_progress:
        result = prepare(name, output, source, on_progress, mirror=mirror)
    if as_json:
        print_json(result.to_dict() | {"licence": about.licence, "citation": about.citation})
    _tell(console, result)
    raise typer.Exit(result.exit_code)


def _list(as_json: bool) -> None:
    from medlsam.data import SOURCES

    if as_json:
        print_json({name: _described(about) for name, about in SOURCES.items()})
        return
    table = Table()
    for head in ("name", "data set", "contents", "GB", "licence", "how"):
        table.add_column(head, justify="right" if head == "GB" else "left", no_wrap=head == "name")
    for about in SOURCES.values():
        size = "–" if about.bytes is None else f"{about.bytes / 1e9:.0f}"
        how = "fetched" if about.fetched else "from your copy"
        table.add_row(about.name, about.title, about.contents, size, about.licence, how)
    answers().print(table)


def _described(about: DataSource) -> dict[str, Any]:
    return {
        "title": about.title,
        "contents": about.contents,
        "licence": about.licence,
        "licence_url": about.licence_url,
        "citation": about.citation,
        "homepage": about.homepage,
        "dataset": about.dataset,
        "expected": about.expected,
        "bytes": about.bytes,
        "fetched": about.fetched,
        "url": about.archive.url if about.archive else None,
        "file": about.archive_file or None,
        "digest": about.archive.digest if about.archive else None,
        "checked_by": about.checked_by,
        "how_to_get": about.how_to_get,
    }


def _tell_licence(console: Console, about: DataSource) -> None:
    for line in (
        f"{about.title}: {about.contents} ({about.homepage})",
        f"licence: {about.licence} ({about.licence_url}); by going on you accept it",
        f"cite: {about.citation}",
    ):
        console.print(escape(line), soft_wrap=True)


def _tell(console: Console, result: PrepareResult) -> None:
    """The last words: what was left out and why, and what there is."""
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for case, reason in result.left_out.items():
        reasons.setdefault(reason, []).append(case)
    for reason, cases in reasons.items():
        console.print(
            f"left out: {len(cases)} ({escape(reason)}), the first: {escape(cases[0])}", soft_wrap=True
        )
    parts = [f"{len(result.done)} written"]
    parts += [f"{len(result.skipped)} there before"] if result.skipped else []
    parts += [f"[bold red]{len(result.failed)} failed[/]"] if result.failed else []
    console.print(f"{', '.join(parts)}: {escape(str(result.folder))}", soft_wrap=True)
