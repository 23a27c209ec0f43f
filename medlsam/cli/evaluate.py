"""``medlsam evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medlsam.cli import flags
from medlsam.cli.common import (
    SOME_FAILED,
    AsJson,
    answers,
    load_with_templates,
    messages,
    print_json,
    report_errors,
    warn_of_misfits,
)
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import UsageError
from medlsam.option_fields import near
from medlsam.options import InferenceOptions


@report_errors
@talkative
@flags.inference(until="segment")
def evaluate(
    support: flags.Support,
    images: flags.Images,
    labels: Annotated[
        Path,
        typer.Option(help="Folder of label maps, <case>.nii.gz or <case>/labels.nii.gz.", metavar="PATH"),
    ],
    output: flags.Output,
    options: InferenceOptions,
    cases: Annotated[
        str | None,
        typer.Option(
            help="Only these scans: a JSON list of names, or FILE.json:key.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    compare_search: Annotated[
        bool,
        typer.Option(help="Also locate in the paper's mode, and coarse only, and print it beside."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Segment labelled scans as if they had no labels, then score the answers.

    Writes metrics.json and cases.csv. Four rows stand side by side: the located box, the true 3D box, the
    true box of every slice, and the templates' mean shape without a segmenter. Below them: how far status,
    margin and confidence can be trusted, the errors of the faces, and the searches side by side.
    """
    from medlsam.evaluation.run import evaluate as score
    from medlsam.evaluation.tables import format_tables
    from medlsam.io.cases import find_cases
    from medlsam.io.label_names import read_case_list
    from medlsam.runtime.run_lock import run_lock

    flags.check_output_folder(output)
    chosen = find_cases(images)
    if cases is not None:
        known = {case.name: case for case in chosen}
        for name in (wanted := read_case_list(cases)):
            if name not in known:
                raise UsageError(
                    f"{images}: there is no scan {name!r}{near(name, known)} (listed in {cases})"
                )
        chosen = [known[name] for name in dict.fromkeys(wanted)]
    console = messages()
    with run_lock(output), case_bar(console) as bar:
        model, templates = load_with_templates(options, support, bar)
        warn_of_misfits(console, templates)
        metrics = score(
            model,
            templates,
            chosen,
            labels,
            output,
            options,
            compare_search=compare_search,
            on_progress=bar.count,
        )
    for case, error in metrics["failed"].items():
        errors().print(f"[bold red]failed:[/] {escape(case)}: {escape(error)}", soft_wrap=True)
    if as_json:
        print_json(metrics)
    else:
        for table in format_tables(metrics):
            answers().print(table)
    raise typer.Exit(SOME_FAILED if metrics["failed"] else 0)
