"""What the shell completes, asked as a shell asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from medlsam.cli.shared.completion import one_of, some_of, structures
from tests.support.command_line import call
from tests.support.fakes.stub_model import template_set
from tests.support.paths import ROOT


def ask(line: str, folder: Path | None = None) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    environment = os.environ | {
        "_MEDLSAM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "PYTHONPATH": str(ROOT),
    }
    code = "from medlsam.cli import app; app(prog_name='medlsam')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    assert not done.stderr
    return done.stdout.split()


def test_words_of_options_and_names_of_weights(tmp_path: Path) -> None:
    assert ask("medlsam segment --prompts ") == ["profile", "spl", "wpl"]
    assert ask("medlsam segment --prompts s") == ["spl"]
    assert ask("medlsam segment --format nifti,") == [
        f"nifti,{kind}" for kind in ("dicom-seg", "rtstruct", "slicer")
    ]
    assert {"sam-tiny", "medsam_vit_b"} <= set(ask("medlsam segment --segmenter ", tmp_path))
    (tmp_path / "own.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    assert ask("medlsam segment --segmenter o", tmp_path) == ["own.safetensors"]
    assert ask("medlsam localize --localizer medlam-") == ["medlam-tiny"]
    assert ask("medlsam weights download medsam_") == ["medsam_vit_b"]
    assert ask("medlsam segment --device c") == ["cpu", "cuda"]
    assert ask("medlsam template build --margin ") == ["calibrated", "paper"]
    assert "totalsegmentator" in ask("medlsam data t")


def test_structures_of_the_templates_on_the_line(tmp_path: Path) -> None:
    template_set().save(tmp_path / "t.medlsam")
    assert ask("medlsam segment --support t.medlsam --organs ", tmp_path) == ["block", "plate", "ghost"]
    assert ask("medlsam segment --support t.medlsam --organs block,p", tmp_path) == ["block,plate"]
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "labels.json").write_text(json.dumps({"liver": 1, "spleen": 2}))
    assert ask("medlsam localize --support templates --organs li", tmp_path) == ["liver"]
    assert ask("medlsam segment --organs ", tmp_path) == []
    assert ask("medlsam segment --support nowhere --organs ", tmp_path) == []


def test_completing_needs_no_torch(tmp_path: Path) -> None:
    template_set().save(tmp_path / "t.medlsam")
    code = (
        "import sys, typer\n"
        "from medlsam.cli.shared.completion import structures, weights\n"
        "context = typer.Context(typer.main.get_command(__import__('medlsam.cli').cli.app))\n"
        f"context.params['support'] = {str(tmp_path / 't.medlsam')!r}\n"
        "print(structures(context, ''), len(weights('segmenter')(context, '')) > 3, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['block', 'plate', 'ghost'] True False"


def test_a_damaged_template_file_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.medlsam").write_bytes(b"no templates")
    context: Any = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params["support"] = tmp_path / "t.medlsam"
    assert structures(context, "") == []
    assert one_of(["a", "ab", "b"])(context, "a") == ["a", "ab"]
    assert some_of(["a", "ab", "b"])(context, "a,") == ["a,ab", "a,b"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown_and_installed(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    shown = call("--show-completion", shell)
    assert shown.exit_code == 0
    assert "_MEDLSAM_COMPLETE" in shown.stdout
    installed = call("--install-completion", shell)
    assert installed.exit_code == 0, installed.output
    assert any("medlsam" in file.read_text() for file in tmp_path.rglob("*") if file.is_file())
