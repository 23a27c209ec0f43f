"""Progress on standard error: a bar, or lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import loudness
from medlsam.cli.shared.pace import Pace

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from medlsam.batch import BatchResult
    from medlsam.batch import Progress as CaseProgress
    from medlsam.data import DataProgress


class CaseBar:
    """Shows where a run over scans is: one bar; with ``--verbose`` a line a scan. What fails is always said.

    Args:
        progress: draws the bar, unless it is disabled.
        task: the bar.
        console: for the lines.
    """

    def __init__(self, progress: Progress, task: TaskID, console: Console) -> None:
        self._progress = progress
        self._task = task
        self._console = console
        self._lines = loudness() == "verbose"
        self.pace = Pace()

    def say(self, text: str) -> None:
        """What is going on before the first scan."""
        self._progress.update(self._task, description=escape(text))
        if self._lines:
            self._console.print(text, markup=False, soft_wrap=True)

    def scan(self, progress: CaseProgress) -> None:
        """Where ``segment_folder`` and ``localize_folder`` are."""
        if progress.status == "running":
            self.pace.begin()
        elif progress.status != "skipped":
            self.pace.end()
        self._move(progress.finished, progress.total, progress.case)
        if self._lines and progress.status != "running":
            words = self.pace.words(progress.total - progress.finished)
            self._console.print(scan_line(progress, words), markup=False, soft_wrap=True)
            for warning in progress.record.warnings if progress.record else ():
                self._console.print(f"  warning: {warning}", markup=False, soft_wrap=True)
        elif progress.status == "failed":
            # Above the bar, where there is one.
            console = errors() if self._progress.disable else self._progress.console
            words = f"[bold red]failed:[/] {escape(progress.case)}: {escape(progress.error or '')}"
            console.print(words, soft_wrap=True)

    def count(self, done: int, total: int, case: str) -> None:
        """Where ``evaluate`` and ``pool build`` are: called after each scan, from the first of which time is taken."""
        if self.pace.begun:
            self.pace.end()
        self.pace.begin()
        self._move(done, total, case)
        if self._lines:
            words = f"{done} of {total}: {case}; {self.pace.words(total - done)}"
            self._console.print(words, markup=False, soft_wrap=True)

    def _move(self, finished: int, total: int, case: str) -> None:
        self._progress.update(self._task, completed=finished, total=total, description=escape(case))


def scan_line(progress: CaseProgress, pace: str) -> str:
    """A scan that has ended, in one line: seconds per stage, and the status of each structure."""
    words = f"{progress.finished} of {progress.total}: {progress.case} {progress.status}"
    if progress.status == "skipped":
        words += ", done before and unchanged"
    elif progress.record is not None and progress.record.seconds:
        stages = progress.record.seconds
        parts = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in stages.items())
        words += f" in {sum(stages.values()):.1f} s ({parts})"
    if progress.error:
        words += f": {progress.error}"
    statuses = _statuses(progress.folder)
    words += f": {', '.join(statuses)}" if statuses else ""
    return f"{words}; {pace}" if pace else words


def _statuses(folder: Path | None) -> list[str]:
    if folder is None:
        return []
    try:
        content = json.loads((folder / "localization.json").read_text(encoding="utf-8"))
        return [
            f"{name} {entry['status']} {entry['confidence']:.2f}" for name, entry in content["organs"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError):  # somebody moved it: there is nothing to say
        return []


@contextmanager
def case_bar(console: Console) -> Iterator[CaseBar]:
    """Show where a run is while the block runs; see ``CaseBar``."""
    # Here, so that help does not wait for it.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    bars: list[CaseBar] = []

    class PaceColumn(ProgressColumn):
        """Not rich's own time: that forgets scans of more than half a minute, and counts those done before."""

        def render(self, task: Task) -> Text:
            remaining = 0 if task.total is None else int(task.total - task.completed)
            return Text(bars[0].pace.words(remaining) if bars else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        PaceColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=loudness() != "usual") as progress:
        bars.append(CaseBar(progress, progress.add_task("loading", total=None), console))
        yield bars[0]


@contextmanager
def byte_bar(console: Console, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar of bytes, their speed and the time left while the block runs; yields what moves it."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=console.quiet) as progress:
        task = progress.add_task(escape(name), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def data_bar(console: Console) -> Iterator[Callable[[DataProgress], None]]:
    """Show where ``prepare`` is: a bar of bytes while it fetches, then one of cases. A case that fails gets a line."""
    with ExitStack() as stack:
        bytes_bar: list[Callable[[int, int | None], None]] = []
        cases_bar: list[CaseBar] = []

        def show(at: DataProgress) -> None:
            if at.stage == "download":
                if not bytes_bar:
                    bytes_bar.append(stack.enter_context(byte_bar(console, at.item)))
                bytes_bar[0](at.done, at.total)
                return
            if not cases_bar:
                stack.close()  # the bar of bytes
                cases_bar.append(stack.enter_context(case_bar(console)))
            cases_bar[0].count(at.done, at.total or 0, at.item)
            if at.error is not None:
                shown = errors() if loudness() == "quiet" else console
                shown.print(f"[bold red]failed:[/] {escape(at.item)}: {escape(at.error)}", soft_wrap=True)

        yield show


def tell_result(console: Console, result: BatchResult, wrote: Path) -> None:
    """The last words of a run over scans."""
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    parts = [f"{len(result.done)} done"]
    parts += [f"{len(result.skipped)} done before and unchanged"] if result.skipped else []
    parts += [f"[bold red]{len(result.failed)} failed[/]"] if result.failed else []
    console.print(f"{', '.join(parts)}: {escape(str(wrote))}", soft_wrap=True)
