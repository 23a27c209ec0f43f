"""Every command and subcommand has an example, and every example is one that the parser takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from medlsam.cli import app
from medlsam.cli.shared.examples import EXAMPLES


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All commands and groups, by how they are called."""
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_has_examples_and_no_other_has() -> None:
    assert set(EXAMPLES) == set(ALL)
    assert all(EXAMPLES.values())


@pytest.mark.parametrize("name", ALL)
def test_help_shows_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.command_line import call

    monkeypatch.setenv("COLUMNS", "160")
    text = call(*name.split(), "--help").stdout
    for example in EXAMPLES[name]:
        assert f" {example} " in text
    assert ("Exit codes:" in text) == (name == "")


@pytest.mark.parametrize("example", sorted({example for own in EXAMPLES.values() for example in own}))
def test_the_parser_takes_them(example: str) -> None:
    words = shlex.split(example)
    assert words.pop(0) == "medlsam"
    command, name = ALL[""], "medlsam"
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    # Parses and checks what is needed, and does not run.
    context = command.make_context(name, words)
    assert context.args == [] or name == "pretrain"


def test_a_wrong_example_would_be_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        ALL["segment"].make_context("segment", ["--suport", "x"])
    with pytest.raises(Exception, match="Missing parameter"):
        ALL["segment"].make_context("segment", ["--support", "x"])
