"""``medlsam weights list``, ``download`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import byte_bar
from medlsam.cli.shared.completion import weights as weights_completion
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import WeightsError

app = typer.Typer(help="The weights that ship, and those that are downloaded.", no_args_is_help=True)


@app.command("list")
@report_errors
def list_weights(as_json: AsJson = False) -> None:
    """List the known weights: size, licence, what they were trained on, sha256, and which of them are here."""
    from medlsam.weights.entries import ENTRIES
    from medlsam.weights.registry import state

    entries = [(entry, state(entry)) for entry in ENTRIES.values()]
    if as_json:
        print_json({entry.name: _described(entry, found) for entry, found in entries})
        return
    table = Table()
    for head in ("name", "kind", "present", "MB", "sha256", "licence", "what it is", "trained on"):
        table.add_column(
            head, justify="right" if head == "MB" else "left", no_wrap=head in ("name", "sha256")
        )
    for entry, found in entries:
        size = _bytes(entry, found)
        table.add_row(
            entry.name,
            entry.kind,
            _present(entry, found),
            "–" if size is None else f"{size / 1e6:.0f}",
            entry.sha256[:8] if entry.sha256 else "–",
            entry.licence,
            entry.description,
            entry.trained_on,
        )
    answers().print(table)


@app.command()
@report_errors
@talkative
def download(
    name: Annotated[
        str,
        typer.Argument(
            help="A name of `medlsam weights list`.", show_default=False, autocompletion=weights_completion()
        ),
    ],
    mirror: Annotated[
        str | None,
        typer.Option(
            help="A folder with the same file names to take it from (or MEDLSAM_MIRROR); the sha256 is checked all "
            "the same.",
            metavar="URL",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download weights by name; the sha256 is checked. What broke off goes on from where it was.

    Proxies are those of HTTPS_PROXY and NO_PROXY.
    """
    from medlsam.weights.fetch import download as fetch

    with byte_bar(messages(), name) as on_bytes:
        path = fetch(name, mirror=mirror, on_progress=on_bytes)
    if as_json:
        print_json({"name": name, "path": str(path)})
    else:
        typer.echo(path)


@app.command()
@report_errors
def verify(
    file: Annotated[
        str | None,
        typer.Argument(
            help="A name or a file; by default all that are here.",
            show_default=False,
            autocompletion=weights_completion(),
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare sha256 sums with the recorded ones.

    Exit code 1: a file is damaged, or one that ships is not there.
    """
    from medlsam.runtime.atomic_files import sha256_of
    from medlsam.weights.entries import ENTRIES
    from medlsam.weights.registry import identify, state

    rows: list[dict[str, Any]] = []
    if file is None or file in ENTRIES:
        for entry in [ENTRIES[file]] if file else ENTRIES.values():
            found = state(entry)
            if found != "absent" or entry.shipped or file:
                rows.append({"name": entry.name, "path": str(entry.path), "state": found})
    else:
        path = Path(file)
        if not path.is_file():
            raise WeightsError(f"{file}: neither a known name nor a file; names: {', '.join(ENTRIES)}")
        known = identify(path)
        rows.append(
            {
                "name": known.name if known else None,
                "path": str(path),
                "state": "ok" if known else "unknown",
                "sha256": sha256_of(path),
            }
        )
    bad = [row for row in rows if row["state"] not in ("ok", "unverified")]
    if as_json:
        print_json({"ok": not bad, "files": rows})
    for row in rows:
        colour = "red" if row in bad else "green"
        told_sum = f", sha256 {row['sha256']}" if row["state"] == "unknown" else ""
        messages().print(
            f"[{colour}]{row['state']}[/] {escape(row['name'] or 'none of the known files')}: "
            f"{escape(row['path'])}{told_sum}",
            soft_wrap=True,
        )
    raise typer.Exit(SOME_FAILED if bad else 0)


def _present(entry: Any, found: str) -> str:
    if entry.shipped and found == "ok":
        return "ships"
    return {"ok": "yes", "absent": "no" if entry.url else "no, bring it"}.get(found, found)


def _bytes(entry: Any, found: str) -> int | None:
    size: int | None = entry.path.stat().st_size if found != "absent" else entry.bytes
    return size


def _described(entry: Any, found: str) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "shipped": entry.shipped,
        "present": found != "absent",
        "state": found,
        "bytes": _bytes(entry, found),
        "path": str(entry.path),
        "url": entry.url,
        "source": entry.source,
        "sha256": entry.sha256,
        "licence": entry.licence,
        "trained_on": entry.trained_on,
        "description": entry.description,
    }
