"""``--quiet`` and ``--verbose`` of the commands that run long."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import typer

from medlsam.cli import app
from medlsam.cli.shared.loudness import loudness
from tests.support.command_line import call, document, usual

LONG = (
    "segment", "localize", "evaluate", "template build", "pool build", "finetune", "weights download", "data", "demo",
)  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_the_commands_that_run_long_have_both_flags(name: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {"--quiet", "-q", "--verbose", "-v"} <= flags


@pytest.fixture
def broken(scans: Path) -> Path:
    (scans / "broken_0000.nii.gz").write_bytes(b"not an image")
    return scans


def test_quiet_says_errors_only(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "out" / "report.html").is_file()
    result = call("segment", *usual(template, scans, tmp_path / "out"), "-q", "--json")
    assert document(result)["skipped"] == ["a", "b"]
    assert result.stderr == ""


def test_quiet_names_what_fails(asked: Any, template: Path, broken: Path, tmp_path: Path) -> None:
    result = call("segment", *usual(template, broken, tmp_path / "out"), "--quiet")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("failed: broken: VolumeError: ")
    result = call("segment", *usual(template, tmp_path / "nowhere", tmp_path / "out"), "--quiet")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_verbose_says_what_is_done_with_each_scan(
    asked: Any, template: Path, broken: Path, tmp_path: Path
) -> None:
    before = logging.getLogger("medlsam").level, len(logging.getLogger("medlsam").handlers)
    result = call("segment", *usual(template, broken, tmp_path / "out"), "--verbose")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    (done,) = (line for line in lines if line.startswith("1 of 3: a done in "))
    for part in ("read ", "embed ", "decode ", "block found 0.90", "plate found 0.90", "ghost missing"):
        assert part in done
    assert "s a scan, 0:00 left" in done
    (failed,) = (line for line in lines if line.startswith("3 of 3: broken failed"))
    assert "VolumeError" in failed
    assert any("INFO medlsam.batch.loop: " in line for line in lines)
    assert (logging.getLogger("medlsam").level, len(logging.getLogger("medlsam").handlers)) == before
    again = call("segment", *usual(template, broken, tmp_path / "out"), "-v")
    assert "1 of 3: a skipped, done before and unchanged" in again.stderr
    assert loudness() == "usual"


def test_verbose_names_the_status_of_a_localization(
    asked: Any, template: Path, scans: Path, tmp_path: Path
) -> None:
    result = call("localize", *usual(template, scans, tmp_path / "out"), "--verbose")
    assert "2 of 2: b done in" in result.stderr
    assert "block found 0.90" in result.stderr


def test_one_of_the_two(asked: Any, template: Path, scans: Path, tmp_path: Path) -> None:
    result = call("segment", *usual(template, scans, tmp_path / "out"), "--quiet", "--verbose", "--json")
    assert result.exit_code == 2
    assert "give one of the two" in document(result)["error"]["text"]
    assert not (tmp_path / "out").exists()
