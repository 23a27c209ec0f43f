"""What nobody foresaw is one line; a reader that goes away is no error; a full disk says which file."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from medlsam.cli.common import AsJson, report_errors
from medlsam.cli.shared.failures import Interrupted
from medlsam.cli.shared.loudness import talkative
from tests.support.command_line import document
from tests.support.paths import ROOT


def run(error: BaseException, *flags: str) -> Any:
    from typer.testing import CliRunner

    app = typer.Typer()

    @app.command()
    @report_errors
    @talkative
    def fail(as_json: AsJson = False) -> None:
        raise error

    return CliRunner().invoke(app, list(flags))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("MEDLSAM_TRACEBACK", raising=False)
    return tmp_path


def test_what_nobody_foresaw_is_one_line_and_its_traceback_a_file(temporary: Path) -> None:
    result = run(ZeroDivisionError("one\n by [bold]zero"))
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    (file,) = temporary.iterdir()
    assert line.startswith(
        "error: ZeroDivisionError: one by [bold]zero (nobody foresaw this; please report it with "
    )
    assert str(file) in line
    assert "`medlsam info`" in line
    text = file.read_text()
    assert "test_failures.py" in text
    assert text.startswith("medlsam ")


def test_the_document_says_it_too(temporary: Path) -> None:
    found = document(run(ZeroDivisionError("no"), "--json"))
    (file,) = temporary.iterdir()
    assert found["exit_code"] == 1
    assert found["error"]["type"] == "ZeroDivisionError"
    assert found["error"]["traceback"] == str(file)


@pytest.mark.parametrize("way", ["--verbose", "MEDLSAM_TRACEBACK"])
def test_whoever_asks_for_it_sees_the_traceback(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "--verbose":
        monkeypatch.setenv(way, "1")
    result = run(ZeroDivisionError("no"), *([way] if way == "--verbose" else []))
    assert result.exit_code == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert list(temporary.iterdir()) == []


def test_where_nothing_can_be_written_the_line_says_how_to_see_it(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "nowhere"))
    assert "MEDLSAM_TRACEBACK=1 shows it" in run(ZeroDivisionError("no")).stderr


def test_a_full_disk_is_no_fault_of_ours(temporary: Path) -> None:
    result = run(OSError(errno.ENOSPC, "No space left on device", "out/run.json"), "--quiet")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: out/run.json: cannot be written (No space left on device); run the same command again\n"
    )
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted(12, 40)])
def test_ctrl_c(error: BaseException) -> None:
    result = run(error, "--json")
    assert result.exit_code == 130
    found = document(result)
    assert found["interrupted"] is True
    if isinstance(error, Interrupted):
        assert (found["done"], found["total"]) == (12, 40)
        assert result.stderr == "interrupted: 12 of 40 done; run the same command again to go on\n"


def test_every_command_reports_what_goes_wrong() -> None:
    from medlsam.cli import app

    waiting, seen = [app], 0
    while waiting:
        inner = waiting.pop()
        waiting += [group.typer_instance for group in inner.registered_groups if group.typer_instance]
        for command in inner.registered_commands:
            assert command.callback is not None
            assert command.callback.__code__.co_qualname.startswith("report_errors."), command.callback
            seen += 1
    assert seen >= 16


def test_typers_own_exceptions_pass() -> None:
    assert run(typer.Exit(7)).exit_code == 7


@pytest.mark.skipif(os.name == "nt", reason="pipes of a POSIX shell")
@pytest.mark.parametrize("command", ["weights list", "weights list --json", "template show t.medlsam"])
def test_a_reader_that_goes_away_is_no_error(command: str, tmp_path: Path) -> None:
    from tests.support.fakes.stub_model import template_set

    template_set().save(tmp_path / "t.medlsam")
    code = "import sys; sys.argv[0] = 'medlsam'; from medlsam.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert not re.search("Traceback|BrokenPipe|error", said), said
