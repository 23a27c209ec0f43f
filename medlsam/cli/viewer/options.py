"""Options that the commands with a page have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Port: TypeAlias = Annotated[
    int, typer.Option(help="Of the loopback address; 0 takes a free one.", metavar="N")
]
OpenBrowser: TypeAlias = Annotated[
    bool, typer.Option("--browser/--no-browser", help="Open the page in this machine's browser.")
]
