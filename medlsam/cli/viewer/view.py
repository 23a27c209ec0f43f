"""``medlsam view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medlsam.cli.common import messages, report_errors
from medlsam.cli.shared.loudness import talkative
from medlsam.cli.viewer.options import OpenBrowser, Port


@report_errors
@talkative
def view(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder that `medlsam segment` wrote.", metavar="DIR", show_default=False),
    ],
    case: Annotated[
        str | None,
        typer.Option(help="The scan to open first; the most doubtful one by default.", metavar="NAME"),
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(
            help="Where corrections and accepted masks are kept; by default DIR/corrected.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    port: Port = 0,
    browser: OpenBrowser = True,
) -> None:
    """Look through the results of a run in the browser, the most doubtful first, and correct them. Ctrl-C ends it.

    The page is served to this machine only, at an address with a token of its own.
    """
    from medlsam.viewer.serve import PageServer
    from medlsam.viewer.view_routes import view_page

    console = messages()
    page = view_page(folder, corrections)
    behind = "" if case is None else page.address_of(case)
    server = PageServer(page.routes(), port)
    server.url += behind

    def ready(url: str) -> None:
        console.print(f"{escape(str(folder))} is at {escape(url)}", soft_wrap=True)
        console.print("Ctrl-C ends it", soft_wrap=True)

    page.scans.begin()
    try:
        server.run(ready, browser)
    finally:
        if page.corrections is not None:
            page.corrections.close()
