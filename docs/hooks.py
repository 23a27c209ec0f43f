"""Called by mkdocs: writes the page of all commands and flags from the command line itself."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.cli import get_docs_for_click

PLACEHOLDER = "<!-- every command and flag -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the placeholder, on the one page that has it."""
    return markdown.replace(PLACEHOLDER, _commands()) if PLACEHOLDER in markdown else markdown


def _commands() -> str:
    from medlsam.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="medlsam"), name="medlsam")
    # The page has a title of its own; installing completion and asking for help are not worth a line a command.
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"^\* `--(help|install-completion|show-completion)`:.*\n", "", text, flags=re.MULTILINE)
    return text.replace("\\[default", "[default")
