"""``medlsam demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medlsam.cli.common import AsJson, answers, messages, print_json, report_errors
from medlsam.cli.shared.completion import DEVICES, one_of
from medlsam.cli.shared.loudness import loudness, talkative


@report_errors
@talkative
def demo(
    output: Annotated[Path, typer.Option(help="The folder to write to.", metavar="DIR")] = Path(
        "medlsam-demo"
    ),
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=one_of(DEVICES)),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """The main job on what ships: phantom templates and scans, segmented, scored and drawn."""
    from medlsam.demo import demo_table, run_demo

    console = messages()
    with console.status("making phantoms") as status:
        tell = console.print if loudness() == "verbose" else status.update
        result = run_demo(output, device=device, on_progress=lambda text: tell(escape(text)))
    if as_json:
        print_json(result.to_dict())
    else:
        answers().print(demo_table(result))
    for what, path in result.places().items():
        console.print(f"{what}: {path}", soft_wrap=True, markup=False)
    raise typer.Exit(result.exit_code)
