"""The group ``medlsam lesion``."""

from __future__ import annotations

import typer

from medlsam.cli.lesion.evaluate import evaluate
from medlsam.cli.lesion.follow_up import follow_up
from medlsam.cli.lesion.measure import measure
from medlsam.cli.lesion.propagate import propagate
from medlsam.cli.lesion.segment import segment

app = typer.Typer(
    help="Lesions: from one slice to a mask, measured by RECIST, followed up, scored.", no_args_is_help=True
)
app.command()(measure)
app.command(name="follow-up")(follow_up)

app.command()(propagate)
app.command()(evaluate)
app.command()(segment)
