"""Every block of the README and the pages runs; one that cannot is checked against the real commands and says why."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import medlsam
from medlsam.cli import app
from medlsam.localize.localizer import Localizer
from medlsam.options import read_options
from tests.support.pages import PAGES, TEXTS, Block, blocks_of, code_spans, commands_in
from tests.support.paths import ROOT

STRUCTURES = ("liver", "spleen")
WITH_BLOCKS = [page for page in PAGES if blocks_of(page)]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("*/*.md"))


def write_case(seed: int, image: Path, labels: Path, structures: tuple[str, ...] = STRUCTURES) -> None:
    """A small phantom with some labelled structures."""
    made = medlsam.phantom(seed, (6, 6, 6), (340, 460), fov_mm=360)
    table = np.zeros(256, np.uint8)
    for value, name in made.names.items():
        table[value] = structures.index(name) + 1 if name in structures else 0
    medlsam.write_volume(made.image, image)
    medlsam.write_volume(type(made.labels)(table[made.labels.array], made.labels.grid), labels)


@pytest.fixture(scope="module", autouse=True)
def _each_scan_is_embedded_once() -> Iterator[None]:
    """Many pages locate structures in the same few scans, and embedding them is most of the work."""
    embed, kept = Localizer.embed, {}

    def embed_once(localizer: Localizer, volume: Any) -> Any:
        key = (localizer.signature, localizer.precision, volume.grid, hash(volume.array.tobytes()))
        if key not in kept:
            kept[key] = embed(localizer, volume)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Localizer, "embed", embed_once)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders and files that the pages speak of, with phantoms in them."""
    folder = tmp_path_factory.mktemp("world")
    names = json.dumps({name: number for number, name in enumerate(STRUCTURES, start=1)})
    for owner, count, structures in (("templates", 2, STRUCTURES), ("labelled", 3, ("spleen",))):
        for number in range(1, count + 1):
            own = folder / owner / f"patient-{number}"
            write_case(number, own / "image.nii.gz", own / "labels.nii.gz", structures)
    write_case(9, folder / "scans" / "somebody.nii.gz", folder / "labels" / "somebody.nii.gz")
    for owner in ("templates", "labels"):
        (folder / owner / "labels.json").write_text(names)
    (folder / "labelled" / "labels.json").write_text('{"spleen": 1}')
    (folder / "judge.json").write_text('["patient-3"]')
    shutil.copy(folder / "scans" / "somebody.nii.gz", folder / "scan.nii.gz")
    medlsam.load().templates(folder / "templates").save(folder / "organs.medlsam")
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(
    page: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    shutil.copytree(world, here, symlinks=True)
    monkeypatch.chdir(here)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.language == "python":
            assert block.reason is None, f"{block.place}: Python always runs"
            exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
        elif block.language == "sh":
            for command in commands_in(block):
                check_command(command, block)
        elif block.language == "yaml":
            check_configuration(block)
        elif block.language == "json":
            json.loads(block.text)
        else:
            assert block.language == "text", f"{block.place}: what is {block.language!r}?"


def check_command(command: str, block: Block) -> None:
    """Run a command of medlsam; of other programs, check that what they name is there."""
    words = shlex.split(command)
    if words[:1] == ["srun"]:
        words = words[1:]
    if words[0] == "medlsam":
        check_flags(words[1:], block.place)
        if words[1] == "pretrain":
            run([*words[1:], "--print_config"], block.place)
        elif block.reason is None:
            run(words[1:], block.place)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), block.place
    else:
        assert block.reason, f"{block.place}: {words[0]} does not run here; the page has to say so"


def run(arguments: list[str], place: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{place}: {arguments}\n{result.output}\n{result.exception!r}"


def check_configuration(block: Block) -> None:
    """A configuration is one of pretraining, or of inference."""
    file = re.match(r"# (\S+\.yaml)\n", block.text)
    path = Path(file[1] if file else "block.yaml")
    path.write_text(block.text)
    if re.search(r"^(data|model|trainer):", block.text, re.M):
        both = ["--config", "configs/pretrain_tiny.yaml", "--config", str(path)]
        run(["pretrain", "fit", *both, "--print_config"], block.place)
    else:
        read_options(path)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words call, and what is left of them."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def flags_of(command: Any) -> set[str]:
    """Every flag of a command."""
    own = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
    return {flag for flag in own if flag.startswith("-")} | {"--help", "-h"}


def check_flags(words: list[str], place: str) -> None:
    """Every flag among the words is one of the command."""
    command, left = command_of(words)
    if command.name == "pretrain":  # LightningCLI checks its own: `check_command` lets it
        return
    unknown = {word.split("=")[0] for word in left if re.match(r"--?[a-z]", word)} - flags_of(command)
    assert not unknown, f"{place}: {command.name} has no {', '.join(sorted(unknown))}"


def all_flags() -> set[str]:
    """Flags of all commands and of the benchmarks."""
    found: set[str] = {"--nthreads", "--nodes", "--print_config", "--ckpt_path", "--requeue"}
    waiting = [typer.main.get_command(app)]
    while waiting:
        command: Any = waiting.pop()
        found |= flags_of(command)
        waiting += getattr(command, "commands", {}).values()
    for script in (ROOT / "benchmarks").rglob("*.py"):
        found |= set(re.findall(r"--[a-z][a-z-]+", script.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("page", [*PAGES, *TEXTS], ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_text_names_is_there(page: Path) -> None:
    flags = all_flags()
    wrong = []
    for span in code_spans(page):
        words = span.split()
        for word in words:
            path = re.fullmatch(r"(?:medlsam|tests|benchmarks|configs|docs|notebooks)/[\w./-]*\w", word)
            if path and not (ROOT / word).exists():
                wrong.append(word)
        if words[:2] == ["python", "-m"] and find_spec(words[2]) is None:
            wrong.append(span)
        if words[0] == "medlsam" and len(words) > 1 and "." not in words[1] and "..." not in words:
            check_flags(words[1:], str(page))
        if words[0].startswith("--") and "." not in words[0] and words[0].split("=")[0] not in flags:
            wrong.append(span)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_benchmarks_have_the_flags_that_a_page_gives_them(page: Path) -> None:
    common = (ROOT / "benchmarks" / "common.py").read_text(encoding="utf-8")
    for words in (span.split() for span in code_spans(page) if span.startswith("python benchmarks/")):
        script, given = words[1], [word for word in words[2:] if word.startswith("--")]
        text = (ROOT / script).read_text(encoding="utf-8") + common
        assert [flag for flag in given if f'"{flag}"' not in text] == [], script


def test_decisions_are_numbered_complete_and_listed() -> None:
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    numbers = sorted(int(record.name[:4]) for record in RECORDS)
    assert numbers == list(range(1, len(RECORDS) + 1))
    for record in RECORDS:
        text = record.read_text(encoding="utf-8")
        assert text.startswith(f"# {record.name[:4]} ")
        parts = ["**Status:**", "## Context", "## Decision", "## Evidence", "## Consequences"]
        assert [part for part in parts if f"\n{part}" not in text] == [], record.name
        (line,) = (line for line in index.splitlines() if line.startswith(f"| {record.name[:4]} |"))
        assert f"({record.parent.name}/{record.name})" in line
        status = re.search(r"\*\*Status:\*\* (\w+)", text)
        assert status is not None
        assert f"| {status[1]}" in line, record.name
