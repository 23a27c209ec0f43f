"""``medlsam finetune`` with labels."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from medlsam.cli.common import AsJson, answers, messages, print_json, report_errors
from medlsam.cli.finetune.table import to_table
from medlsam.cli.finetune.teacher import help_of, or_teacher
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import DEVICES, one_of, weights
from medlsam.cli.shared.loudness import talkative
from medlsam.segment.finetune.options import FinetuneOptions
from medlsam.windows import WINDOWS

_DEFAULT = FinetuneOptions()
_HELP = {item.name: item.metadata["help"] for item in fields(FinetuneOptions)}


def _training(name: str) -> Any:
    return typer.Option(help=help_of(name, _HELP[name]), rich_help_panel="Training")


@report_errors
@talkative
@or_teacher
def finetune(
    labelled: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of labelled scans: nnU-Net, or <case>/image.* with <case>/labels.*; with --teacher scans "
            "without labels.",
            metavar="PATH",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option(help="The segmenter file to write.", metavar="FILE.safetensors")],
    segmenter: Annotated[
        str,
        typer.Option(
            help="The original weights: a known name or a file.",
            metavar="NAME|FILE",
            autocompletion=weights("segmenter"),
        ),
    ] = "sam-tiny",
    cases: Annotated[
        str | None,
        typer.Option(
            help="Only these scans: a JSON list, or FILE.json:key.", metavar="FILE", show_default=False
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            help="Scans that are not trained on and judge the result: a JSON list, FILE.json:key, or a folder of other "
            "labelled scans (of an nnU-Net dataset imagesTs and labelsTs).",
            metavar="FILE|DIR",
            show_default=False,
        ),
    ] = None,
    organs: Annotated[
        str | None,
        typer.Option(help="Only these structures, comma-separated.", metavar="A,B", show_default=False),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(
            help="JSON of scan to patient, where a patient has several scans; or the cases.json of medlsam data.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    cycle: Annotated[
        bool,
        typer.Option(
            "--cycle",
            help="Go on with FILE after masks were added or corrected; replace it only if the new one is better on "
            "the held-out patients.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where FILE exists.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Keep the embeddings here for the next cycle; with --teacher its masks, by default in FILE.teacher.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[int, _training("epochs")] = _DEFAULT.epochs,
    batch_size: Annotated[int, _training("batch_size")] = _DEFAULT.batch_size,
    learning_rate: Annotated[float, _training("learning_rate")] = _DEFAULT.learning_rate,
    weight_decay: Annotated[float, _training("weight_decay")] = _DEFAULT.weight_decay,
    jitter: Annotated[float, _training("jitter")] = _DEFAULT.jitter,
    views: Annotated[int, _training("views")] = _DEFAULT.views,
    slices: Annotated[int, _training("slices")] = _DEFAULT.slices,
    folds: Annotated[int, _training("folds")] = _DEFAULT.folds,
    seed: Annotated[int, _training("seed")] = _DEFAULT.seed,
    window: Annotated[
        str,
        typer.Option(
            help=_HELP["window"],
            metavar="model|NAME|LOW,HIGH",
            rich_help_panel="Training",
            autocompletion=one_of(("model", *WINDOWS)),
        ),
    ] = "model",
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=one_of(DEVICES)),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train the segmenter's mask decoder on your own labelled scans.

    Image encoder and prompt encoder stay as they are. Leave-one-patient-out chooses the number of epochs. The
    result is one file for `--segmenter FILE`; FILE.history.json beside it tells how it came about.

    With `--teacher` no labels are needed: the whole of sam-tiny learns the masks of a large model whose weights you
    have, and held-out patients say how far it agrees with it. The scans may lie in any folder that `segment --images`
    takes.
    """
    options = FinetuneOptions(
        epochs, batch_size, learning_rate, weight_decay, jitter, views, slices, folds, seed, window
    )
    from medlsam.segment.finetune.run import finetune as tune

    console = messages()
    with case_bar(console) as bar:
        done = tune(
            labelled,
            output,
            segmenter=segmenter,
            cases=cases,
            held_out=held_out,
            organs=None if organs is None else [name.strip() for name in organs.split(",") if name.strip()],
            patients=patients,
            cycle=cycle,
            overwrite=overwrite,
            options=options,
            device=device,
            cache=cache,
            on_progress=bar.say,
        )
    if done.replaced:
        what = f"wrote {output}: use it with --segmenter {output}"
    elif output.exists():
        what = f"{output} stays as it was: this cycle is not better on the held-out patients"
    else:
        what = (
            "nothing is written: this cycle is not better than the original weights on the held-out patients"
        )
    if done.replaced and not done.selection.epochs:
        what += "; its weights are the original ones, since no epoch was better on the patients left out"
    elif (
        done.replaced
        and done.held_out
        and done.held_out.patients.after[0] <= done.held_out.patients.before[0]
    ):
        what += f"; on the held-out patients the {done.held_out.against} weights are not worse"
    console.print(escape(what), soft_wrap=True)
    if as_json:
        print_json({"file": str(output), **done.record})
    else:
        answers().print(to_table(done.record))
