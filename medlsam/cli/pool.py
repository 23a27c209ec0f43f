"""``medlsam pool build``, ``show`` and ``verify``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.loudness import talkative

if TYPE_CHECKING:
    from medlsam.pool import BuildResult

app = typer.Typer(help="Many raw scans as one pool for pretraining.", no_args_is_help=True)

PoolFolder = Annotated[Path, typer.Argument(help="A pool.", metavar="DIR", show_default=False)]


@app.command()
@report_errors
@talkative
def build(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with scans of any kind at any depth, or single files.",
            metavar="PATH...",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The pool: a new folder, or one to add to.", metavar="DIR")],
    spacing: Annotated[
        float | None,
        typer.Option(
            help="Of the pool, along all axes. \\[default: 4, or the pool's]",
            metavar="MM",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            help="Processes that work at the same time on this machine; 0 or 1: only this one.",
            metavar="N",
            min=0,
        ),
    ] = 1,
    collection: Annotated[
        str | None,
        typer.Option(help="Of all scans of this call; else files beside the scans say.", metavar="NAME"),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Of all scans of this call; else files beside the scans say.", metavar="TEXT"),
    ] = None,
    keep_doubles: Annotated[
        bool,
        typer.Option(
            "--keep-doubles",
            help="Keep further phases, kernels and thicknesses of the same place of a study.",
        ),
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler (tcp://host:8786) whose workers do the work, or local: a Dask cluster of --jobs "
            "workers on this machine, as --jobs starts it, also for one.",
            metavar="ADDRESS|local",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find scans in raw collections, check and prepare them, and store them for random crops.

    Says what is left out and why. Interrupted, the same call goes on; scans are added without touching those that are
    there. Exit code 1: some scans could not be read.
    """
    from medlsam.pool import build_pool

    console = messages()
    with case_bar(console) as bar:
        bar.say("looking for scans")
        result = build_pool(
            paths,
            output,
            spacing_mm=spacing,
            jobs=jobs,
            collection=collection,
            licence=licence,
            keep_doubles=keep_doubles,
            on_progress=lambda at: bar.count(at.done, at.total, at.source),
            scheduler=scheduler,
        )
    exit_code = SOME_FAILED if result.failed else 0
    if as_json:
        print_json(result.to_dict() | {"exit_code": exit_code})
    _tell(console, result)
    raise typer.Exit(exit_code)


@app.command()
@report_errors
def show(folder: PoolFolder, as_json: AsJson = False) -> None:
    """Print what a pool is made of: collections, licences, regions (estimated), bytes."""
    from medlsam.pool import Pool
    from medlsam.pool.manifest import digest_of

    pool = Pool(folder)
    groups = sorted({(row.collection, row.licence or "") for row in pool.rows})
    rows: list[dict[str, Any]] = []
    for collection, licence in groups:
        members = [r for r in pool.rows if (r.collection, r.licence or "") == (collection, licence)]
        regions = Counter(region for row in members for region in row.regions)
        rows.append(
            {
                "collection": collection,
                "licence": licence or None,
                "scans": len(members),
                "bytes": sum(row.bytes for row in members),
                "regions": dict(regions),
            }
        )
    if as_json:
        print_json(
            {
                "spacing_mm": pool.spacing_mm,
                "scans": len(pool),
                "sha256": digest_of(pool.rows),
                "collections": rows,
            }
        )
        return
    table = Table(title=f"{len(pool)} scans at {pool.spacing_mm:g} mm")
    for head in ("collection", "licence", "scans", "MB", "regions (estimated)"):
        table.add_column(head, justify="right" if head in ("scans", "MB") else "left")
    for entry in rows:
        told_regions = ", ".join(f"{name} {count}" for name, count in entry["regions"].items())
        table.add_row(
            escape(entry["collection"]),
            escape(entry["licence"] or "unknown"),
            str(entry["scans"]),
            f"{entry['bytes'] / 1e6:.1f}",
            told_regions,
        )
    answers().print(table)


@app.command()
@report_errors
def verify(folder: PoolFolder, as_json: AsJson = False) -> None:
    """Compare the sha256 of every scan with the manifest. Exit code 1: some are damaged or missing."""
    from medlsam.pool import Pool

    pool = Pool(folder)
    bad = pool.damaged()
    if as_json:
        print_json({"ok": not bad, "scans": len(pool), "damaged": bad})
    for line in bad:
        messages().print(f"[red]damaged:[/] {escape(line)}", soft_wrap=True)
    messages().print(f"{len(pool) - len(bad)} of {len(pool)} scans are whole")
    raise typer.Exit(SOME_FAILED if bad else 0)


def _tell(console: Console, result: BuildResult) -> None:
    """The last words of a build: what was left out and why, and what the pool holds."""
    from medlsam.pool.manifest import MEANING

    for reason, meaning in MEANING.items():
        entries = [entry for entry in result.left_out if entry.reason is reason]
        if entries:
            first = entries[0]
            console.print(
                f"left out, [yellow]{reason}[/]: {len(entries)} ({meaning}); the first: {escape(first.source)}: "
                f"{escape(first.words)}",
                soft_wrap=True,
            )
    unlicensed = sum(row.licence is None for row in result.rows)
    if unlicensed:
        console.print(
            f"[yellow]warning:[/] no licence is known of {unlicensed} scans; see --licence", soft_wrap=True
        )
    size = sum(row.bytes for row in result.rows) / 1e6
    console.print(
        f"{len(result.added)} scans added, {len(result.rows)} in all ({size:.1f} MB): {escape(str(result.folder))}",
        soft_wrap=True,
    )
    console.print(f"sha256 {result.sha256}", soft_wrap=True)
