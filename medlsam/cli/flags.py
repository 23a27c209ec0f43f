"""Flags that several commands have; those of inference are the fields of ``InferenceOptions``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from medlsam.errors import UsageError
from medlsam.options import InferenceOptions

_FIELDS = {f.name: f for f in fields(InferenceOptions)}


def _inference(name: str, metavar: str | None = None) -> Any:
    """The flag of a field. Its own default is None: "not given", so that the YAML file can speak."""
    field = _FIELDS[name]
    choices = field.metadata.get("choices")
    default = "" if field.default is None else f" \\[default: {field.default}]"
    return typer.Option(
        help=f"{field.metadata['help']}{default}",
        metavar="|".join(choices) if choices else metavar,
        rich_help_panel="How",
        show_default=False,
    )


Localizer = Annotated[str | None, _inference("localizer", "NAME|FILE")]
Weights = Annotated[str | None, _inference("weights", "FILE")]
Segmenter = Annotated[str | None, _inference("segmenter", "NAME|FILE")]
Device = Annotated[str | None, _inference("device", "NAME")]
Precision = Annotated[str | None, _inference("precision")]
Organs = Annotated[str | None, _inference("organs", "A,B")]
Search = Annotated[str | None, _inference("search")]
Prompts = Annotated[str | None, _inference("prompts")]
MarginMm = Annotated[float | None, _inference("margin_mm", "MM")]
Threshold = Annotated[float | None, _inference("threshold", "P")]
Shrink = Annotated[float | None, _inference("shrink", "FACTOR")]
CenterPoint = Annotated[bool | None, _inference("center_point")]
ShapePrompt = Annotated[bool | None, _inference("shape_prompt")]
Zoom = Annotated[float | None, _inference("zoom", "TIMES")]
Axes = Annotated[str | None, _inference("axes")]
Propagate = Annotated[bool | None, _inference("propagate")]
Components = Annotated[str | None, _inference("components")]
Overlaps = Annotated[str | None, _inference("overlaps")]
Cache = Annotated[Path | None, _inference("cache", "DIR")]
CacheGb = Annotated[float | None, _inference("cache_gb", "GB")]
Seed = Annotated[int | None, _inference("seed", "N")]
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
