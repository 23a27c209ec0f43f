"""Flags that several commands of lesions have."""

from __future__ import annotations

from typing import Annotated

import typer

from medlsam.cli.shared.completion import one_of

LeastVoxels = Annotated[
    int,
    typer.Option(
        help="What has fewer voxels is no lesion; in a follow-up: at no visit.",
        metavar="N",
        rich_help_panel="How",
    ),
]
InstancesOption = Annotated[
    str,
    typer.Option(
        help="What one lesion is: given (each value of the mask), connected (each connected part of a value), or auto: "
        "given where the mask has more than one value.",
        metavar="auto|given|connected",
        autocompletion=one_of(["auto", "given", "connected"]),
        rich_help_panel="How",
    ),
]
SliceThickness = Annotated[
    float | None,
    typer.Option(
        help="Slice thickness in mm, which says what is measurable; the distance of the slices by default.",
        metavar="MM",
        rich_help_panel="How",
        show_default=False,
    ),
]
