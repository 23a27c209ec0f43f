"""The README and the pages under docs/: their code blocks, and the code that stands in their text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

#: Pages whose blocks run.
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Further texts that name files and flags.
TEXTS = (
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "medlsam").rglob("*.md")),
)

_FENCE = re.compile(
    r"^(?:<!-- checked, not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: where it stands.
        line: its first line, from 1.
        language: as the fence says.
        text: the lines between the fences.
        reason: why it cannot run here, or None.
    """

    page: Path
    line: int
    language: str
    text: str
    reason: str | None

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page, text.count("\n", 0, found.start("text")), found["language"], found["text"], found["reason"]
        )
        for found in _FENCE.finditer(text)
    ]


def commands_in(block: Block) -> Iterator[str]:
    """The command lines of a ``sh`` block, without comments."""
    for line in block.text.splitlines():
        command = re.sub(r"(^|\s)#.*", "", line).strip()
        if command:
            yield command


def code_spans(page: Path) -> list[str]:
    """What stands between single backticks outside of fenced blocks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]
