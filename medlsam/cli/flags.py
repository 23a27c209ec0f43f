"""Flags that several commands have; those of inference are made from the fields of ``InferenceOptions``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from medlsam.cli.shared.completion import completion_of, one_of
from medlsam.errors import UsageError
from medlsam.option_fields import Step
from medlsam.options import option_fields, read_options


def inference(until: Step) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter ``options`` by a flag for each option that its steps need, and ``--config``.

    Args:
        until: the last of the command's steps.
    """
    names = option_fields(until)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_options(**given: Any) -> None:
            own = {name: given.pop(name) for name in names}
            command(options=read_options(given.pop("config"), own), **given)

        keyword = inspect.Parameter.KEYWORD_ONLY
        flags = [_flag(name, item) for name, item in names.items()]
        flags.append(inspect.Parameter("config", keyword, default=None, annotation=Config))
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameters += flags if parameter.name == "options" else [parameter.replace(kind=keyword)]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return with_options

    return decorate


def _flag(name: str, option: Field[Any]) -> inspect.Parameter:
    """The flag of an option. Its own default is None for "not given", so that the YAML file can speak."""
    known = ",".join(option.default) if isinstance(option.default, tuple) else option.default
    default = "" if known is None else f" \\[default: {known}]"
    info = typer.Option(
        None,
        help=f"{option.metadata['help']}{default}",
        metavar=option.metadata["metavar"],
        autocompletion=completion_of(name, option),
        rich_help_panel="How",
        show_default=False,
    )
    annotation = option.metadata["flag"] | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=annotation)


Config = Annotated[
    Path | None,
    typer.Option(
        help="One YAML file with the fields of these flags (`margin_mm: 2`); flags that are given win.",
        metavar="FILE",
        rich_help_panel="How",
        show_default=False,
    ),
]
Support = Annotated[
    Path, typer.Option(help="Templates: a .medlsam file or a templates folder.", metavar="PATH")
]
Images = Annotated[
    Path,
    typer.Option(
        help="A scan, a folder of scans, an nnU-Net imagesTr, a DICOM series, a folder of series, or a zip.",
        metavar="PATH",
    ),
]
Output = Annotated[Path, typer.Option(help="The folder to write to.", metavar="DIR")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Do again what is done.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be done with which scans, templates and options, and why; write nothing.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        help="Processes that work at the same time on this machine; each loads the networks.",
        metavar="N",
        rich_help_panel="Many scans",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="A Dask scheduler (tcp://host:8786) whose workers do the work, or local: a Dask cluster of --jobs "
        "workers on this machine, as --jobs starts it, also for one.",
        metavar="ADDRESS|local",
        autocompletion=one_of(["local"]),
        rich_help_panel="Many scans",
        show_default=False,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        help="Only every n-th scan, from the i-th: for arrays of jobs. All may share one output folder; the same "
        "command without it collects the results at the end.",
        metavar="i/n",
        rich_help_panel="Many scans",
        show_default=False,
    ),
]
Boxes = Annotated[
    Path | None,
    typer.Option(
        help="Segment in given boxes instead of locating: a folder that localize or segment wrote, with its "
        "<case>/boxes.mrk.json edited in 3D Slicer; one with <case>.mrk.json; or one file for one scan.",
        metavar="DIR|FILE",
        show_default=False,
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        help="nnunet: also make OUTPUT/nnUNet_raw, a dataset for nnU-Net of all scans that are done (not with "
        "--shard: the run that collects the results makes it).",
        metavar="cases|nnunet",
        autocompletion=one_of(["cases", "nnunet"]),
    ),
]
TemplateCases = Annotated[
    str | None,
    typer.Option(
        "--cases",
        help="Only these templates of the folder: a JSON list, or FILE.json:key.",
        metavar="FILE",
        show_default=False,
    ),
]


def check_output_folder(path: Path) -> None:
    """Refuse an output folder that is a file, before any work.

    Raises:
        UsageError: it is one.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: this is a file; give a folder for the output")
