"""``medlsam demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import AsJson, answers, messages, print_json, report_errors
from medlsam.cli.shared.completion import DEVICES, one_of
from medlsam.cli.shared.loudness import loudness, talkative

if TYPE_CHECKING:
    from medlsam.demo import DemoResult
    from medlsam.demo.lesion_result import LesionDemoResult


@report_errors
@talkative
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write to; by default medlsam-demo, or medlsam-demo-lesions.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    lesions: Annotated[
        bool,
        typer.Option(
            "--lesions",
            help="A patient's lesions at two visits instead: from one box each to masks, diameters and the response.",
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=one_of(DEVICES)),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """The main job on what ships: phantom templates and scans, segmented, scored and drawn."""
    console = messages()
    with console.status("making phantoms") as status:
        tell = console.print if loudness() == "verbose" else status.update

        def on_progress(text: str) -> None:
            tell(escape(text))

        result, tables = (_lesions if lesions else _organs)(output, device, on_progress)
    if as_json:
        print_json(result.to_dict())
    else:
        for table in tables:
            answers().print(table)
    for what, path in result.places().items():
        console.print(f"{what}: {path}", soft_wrap=True, markup=False)
    raise typer.Exit(result.exit_code)


def _organs(
    output: Path | None, device: str, on_progress: Callable[[str], None]
) -> tuple[DemoResult, list[Table]]:
    from medlsam.demo import demo_table, run_demo

    result = run_demo(output or Path("medlsam-demo"), device=device, on_progress=on_progress)
    return result, [demo_table(result)]


def _lesions(
    output: Path | None, device: str, on_progress: Callable[[str], None]
) -> tuple[LesionDemoResult, list[Table]]:
    from medlsam.demo.lesion_report import lesion_tables
    from medlsam.demo.lesions import run_lesion_demo

    result = run_lesion_demo(output or Path("medlsam-demo-lesions"), device=device, on_progress=on_progress)
    return result, lesion_tables(result)
