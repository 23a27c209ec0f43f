"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from medlsam.batch import BatchResult
    from medlsam.batch import Progress as CaseProgress
    from medlsam.data import DataProgress


class CaseBar:
    """One bar over the scans of a run; a scan that fails gets a line of its own above it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def say(self, text: str) -> None:
        """What is going on before the first scan."""
        self._progress.update(self._task, description=escape(text))

    def scan(self, progress: CaseProgress) -> None:
        """Where ``segment_folder`` and ``localize_folder`` are."""
        self._progress.update(
            self._task, completed=progress.finished, total=progress.total, description=escape(progress.case)
        )
        if progress.status == "failed":
            self._progress.console.print(
                f"[bold red]failed:[/] {escape(progress.case)}: {escape(progress.error or '')}",
                soft_wrap=True,
            )

    def count(self, done: int, total: int, case: str) -> None:
        """Where ``evaluate`` is."""
        self._progress.update(self._task, completed=done, total=total, description=escape(case))


@contextmanager
def case_bar(console: Console) -> Iterator[CaseBar]:
    """Show a bar while the block runs."""
    # Here, so that help does not wait for it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield CaseBar(progress, progress.add_task("loading", total=None))


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
    with Progress(*columns, console=console, transient=True) as progress:
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
                console.print(f"[bold red]failed:[/] {escape(at.item)}: {escape(at.error)}", soft_wrap=True)

        yield show


def tell_result(console: Console, result: BatchResult, wrote: Path) -> None:
    """The last words of a run over scans."""
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    parts = [f"{len(result.done)} done"]
    parts += [f"{len(result.skipped)} done before and unchanged"] if result.skipped else []
    parts += [f"[bold red]{len(result.failed)} failed[/]"] if result.failed else []
    console.print(f"{', '.join(parts)}: {escape(str(wrote))}", soft_wrap=True)
