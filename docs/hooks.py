"""Called by mkdocs: writes the page of all commands from the command line itself, and keeps the pages offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

SEARCH_SHIM = "https://unpkg.com/iframe-worker/shim"
PLACEHOLDER = "<!-- every command and flag -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the placeholder, on the one page that has it."""
    return markdown.replace(PLACEHOLDER, _commands()) if PLACEHOLDER in markdown else markdown


def on_post_build(config: Any, **_: Any) -> None:
    """Let every page load its scripts from beside it: the theme's search would take one from the network.

    Raises:
        ValueError: a page still loads something from elsewhere.
    """
    site = Path(config["site_dir"])
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8").replace(SEARCH_SHIM, f"{up}assets/iframe-worker.js")
        loads = re.findall(
            r"<(?:script|img|iframe)[^>]*src=\"?https?:[^>]*>|<link[^>]*stylesheet[^>]*https?:[^>]*>", text
        )
        if loads:
            raise ValueError(f"{page}: loads from the network: {loads[0]}")
        page.write_text(text, encoding="utf-8")


def _commands() -> str:
    from medlsam.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command, info_name="medlsam"), name="medlsam")
    # The page has a title of its own; installing completion and asking for help are not worth a line a command.
    text = re.sub(r"\A# .*\n", "", text)
    text = re.sub(r"^\* `--(help|install-completion|show-completion)`:.*\n", "", text, flags=re.MULTILINE)
    # Examples, which stand in lines of their own, as code.
    text = re.sub(r"^(medlsam .*)$", r"    \1", text, flags=re.MULTILINE)
    return text.replace("\\[default", "[default")
