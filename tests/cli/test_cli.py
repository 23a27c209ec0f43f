"""The commands as a whole, and those that need no scan."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest

from medlsam.options import option_fields
from medlsam.weights.entries import ENTRIES
from tests.support.command_line import call, document

COMMANDS = (
    "segment", "localize", "evaluate", "template", "pretrain", "pool", "finetune", "weights", "info", "demo",
)  # fmt: skip


def test_help_lists_the_commands() -> None:
    result = call("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f"│ {name} " not in result.stdout] == []


@pytest.mark.parametrize("command", [*COMMANDS, "template build", "template show", "weights list"])
def test_every_command_has_help(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: medlsam {command}" in result.stdout


#: The flags that others script against, and all options of the steps that a command does.
FLAGS = {
    "segment": (
        "write",
        "--support --images --output --boxes --layout --overwrite --json --jobs --scheduler --shard --dry-run "
        "--quiet --verbose",
    ),
    "localize": (
        "locate",
        "--support --images --output --overwrite --json --jobs --scheduler --shard --dry-run --quiet --verbose",
    ),
    "evaluate": (
        "segment",
        "--support --images --labels --output --cases --compare-search --json --quiet --verbose",
    ),
    "template build": ("templates", "--output --cases --margin --adapt --json --quiet --verbose"),
}


@pytest.mark.parametrize("command", FLAGS)
def test_every_option_of_a_commands_steps_is_a_flag(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    until, own = FLAGS[command]
    options = option_fields(until)  # type: ignore[arg-type]
    expected = {"--" + name.replace("_", "-") for name in options} | {"--config", *own.split()}
    text = call(*command.split(), "--help").stdout
    assert set(re.findall(r"│ \*?\s*(--[\w-]+)", text)) - {"--help"} == expected
    words = " ".join(text.replace("│", " ").split())
    for item in options.values():
        assert item.metadata["help"] in words
        assert item.metadata["metavar"] is None or item.metadata["metavar"] in words
    assert f"{options['precision'].metadata['help']} [default: auto]" in words


def test_version() -> None:
    from medlsam import __version__

    assert call("--version").stdout.strip() == f"medlsam {__version__}"


def test_pretrain_passes_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    # A stand-in for the module: importing Lightning takes longer than all other tests here.
    monkeypatch.setitem(sys.modules, "medlsam.localize.pretrain.module", SimpleNamespace(cli=seen.append))  # type: ignore[arg-type]
    arguments = ["fit", "--config", "c.yaml", "--trainer.max_steps=3", "--help"]
    assert call("pretrain", *arguments).exit_code == 0
    assert seen == [arguments]


def test_pretrain_alone_says_what_to_do() -> None:
    result = call("pretrain")
    assert result.exit_code == 2
    assert "medlsam pretrain fit" in result.stderr


def test_info() -> None:
    found = document(call("info", "--json"))
    assert {"medlsam", "python", "libraries", "device", "weights"} <= set(found)
    assert found["libraries"]["torch"]
    assert set(found["weights"]) == set(ENTRIES)
    assert "medlsam" in call("info").stdout
