"""The command line: one file (or folder) a command, each a thin shell over the public function of the same name.

The flags of inference are made from the fields of ``medlsam.options.InferenceOptions`` (see ``flags``). Nothing
here imports torch before a command runs, so that every ``--help`` is quick. ``shared`` holds what every command has
besides its work: loudness, failures, the dry run, completion, examples.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from medlsam._version import __version__
from medlsam.cli.data import data
from medlsam.cli.demo import demo
from medlsam.cli.evaluate import evaluate
from medlsam.cli.finetune.command import finetune
from medlsam.cli.info import info
from medlsam.cli.lesion.app import app as lesion_app
from medlsam.cli.localize import localize
from medlsam.cli.pool import app as pool_app
from medlsam.cli.pretrain import pretrain
from medlsam.cli.segment import segment
from medlsam.cli.shared.examples import show_examples
from medlsam.cli.template import app as template_app
from medlsam.cli.viewer.annotate import annotate
from medlsam.cli.viewer.view import view
from medlsam.cli.weights import app as weights_app

app = typer.Typer(
    name="medlsam",
    help="Find and segment the structures of a few template CT scans in any number of other scans.",
    epilog="Exit codes: 0 all done; 1 some scans failed, the others are written; 2 the call is wrong; 130 Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"medlsam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    # Only holds the options that come before a command.
    del version


app.command()(segment)
app.command()(localize)
app.command()(evaluate)
app.command()(view)
app.command()(annotate)
app.add_typer(template_app, name="template")
app.command(
    # What follows the first word is LightningCLI's, --help and unknown options included.
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    }
)(pretrain)
app.add_typer(pool_app, name="pool")
app.command()(finetune)
app.add_typer(weights_app, name="weights")
app.add_typer(lesion_app, name="lesion")
app.command()(data)
app.command()(info)
app.command()(demo)
show_examples(app)


def main() -> None:
    """The entry point ``medlsam``."""
    # Names of files need not be text; a table that shows one must not end the command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
