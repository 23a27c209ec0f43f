"""``medlsam lesion evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import one_of
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative
from medlsam.option_fields import choice

#: As ``medlsam.measure.detection`` has them; that one needs scipy, and help must be quick.
_MATCHINGS = ("optimal", "greedy")


@report_errors
@talkative
def evaluate(
    predictions: Annotated[
        Path,
        typer.Option(
            help="Folder of predicted label maps: <case>.nii.gz, or what medlsam segment wrote.",
            metavar="DIR",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option(help="Folder of true label maps, <case>.nii.gz; its cases are scored.", metavar="DIR"),
    ],
    threshold: Annotated[
        float, typer.Option(help="A region is found if its IoU is at least this.", metavar="IOU")
    ] = 0.5,
    smallest: Annotated[
        int, typer.Option(help="Leave out regions with fewer voxels, on both sides.", metavar="VOXELS")
    ] = 1,
    matching: Annotated[
        str,
        typer.Option(
            help="One-to-one pairs: as many as possible (optimal), or the best first (greedy).",
            autocompletion=one_of(_MATCHINGS),
        ),
    ] = _MATCHINGS[0],
    as_json: AsJson = False,
) -> None:
    """Score predicted lesions against true ones: F1 over regions and Dice over voxels, by class.

    A case without the class on both sides is left out of the means and counted; with it on one side it counts 0. A
    missing prediction counts as empty. Names of the values are in labels.json or dataset.json of either side.
    """
    choice("matching", matching, _MATCHINGS)
    from medlsam.lesion.evaluate import EvaluateOptions, evaluate_lesions

    options = EvaluateOptions(threshold, smallest, matching)  # type: ignore[arg-type]
    with case_bar(messages()) as bar:
        found = evaluate_lesions(predictions, labels, options, bar.count)
    for case, error in found["failed"].items():
        errors().print(f"[bold red]failed:[/] {escape(case)}: {escape(error)}", soft_wrap=True)
    warnings = list(found["warnings"])
    for key, words in (
        ("missing", "without a prediction, counted as predicted empty"),
        ("not_scored", "predictions without labels, not scored"),
    ):
        warnings += [f"{len(found[key])} {words}: {', '.join(found[key])}"] if found[key] else []
    for warning in warnings:
        messages().print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if as_json:
        print_json(found)
    else:
        for table in tables(found):
            answers().print(table)
    raise typer.Exit(SOME_FAILED if found["failed"] else 0)


def tables(found: Mapping[str, Any]) -> tuple[Table, Table]:
    """The means over cases and the pooled figures, one line a class.

    Args:
        found: what ``evaluate_lesions`` returned.
    """
    return _over_cases(found), _pooled(found)


def _over_cases(found: Mapping[str, Any]) -> Table:
    table = Table(title=f"mean over {found['cases'] - len(found['failed'])} cases ± standard deviation")
    table.add_column("class", no_wrap=True)
    for head in (
        "DSC",
        "n",
        "F1",
        "n",
        "precision",
        "recall",
        "empty on both",
        "labels only",
        "predicted only",
    ):
        table.add_column(head, justify="right")
    for name, own in found["classes"].items():
        cells = [_mean(own["dice"]), str(own["dice"]["n"]), _mean(own["f1"]), str(own["f1"]["n"])]
        cells += [_mean(own["precision"]), _mean(own["recall"])]
        cells += [str(own[key]) for key in ("both_empty", "only_labels", "only_prediction")]
        table.add_row(escape(name), *cells)
    mean = found["mean"]
    table.add_section()
    cells = [_mean(mean["dice"]), str(mean["dice"]["n"]), _mean(mean["f1"]), str(mean["f1"]["n"])]
    table.add_row(
        "mean of classes", *cells, _mean(mean["precision"]), _mean(mean["recall"]), "", "", "", style="bold"
    )
    table.caption = (
        f"F1 over connected regions, IoU at least {found['threshold']:g}, {found['matching']} matching"
        + (f", regions from {found['smallest_voxels']} voxels" if found["smallest_voxels"] > 1 else "")
        + "; a case that is empty on both sides is left out, one that is empty on one side counts 0"
    )
    return table


def _pooled(found: Mapping[str, Any]) -> Table:
    table = Table(title="pooled: of the counts of all cases together")
    table.add_column("class", no_wrap=True)
    for head in ("DSC", "F1", "precision", "recall", "found", "false", "missed"):
        table.add_column(head, justify="right")
    keys = ("dice", "f1", "precision", "recall")
    for name, own in found["classes"].items():
        pooled = own["pooled"]
        counts = [str(pooled[key]) for key in ("tp", "fp", "fn")]
        table.add_row(escape(name), *(_number(pooled[key]) for key in keys), *counts)
    table.add_section()
    pooled = found["mean"]["pooled"]
    table.add_row("mean of classes", *(_mean(pooled[key]) for key in keys), "", "", "", style="bold")
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _mean(entry: Mapping[str, Any]) -> str:
    """``mean ± std``, or a dash where there is no value."""
    return "–" if not entry["n"] else f"{entry['mean']:.3f} ±{entry['std']:.3f}"
