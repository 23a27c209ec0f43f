"""Flags that several commands of lesions have."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from medlsam.cli.shared.completion import one_of
from medlsam.errors import UsageError

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


def check_limits(least_voxels: int, slice_thickness: float | None) -> None:
    """Refuse limits that are none, before any work.

    Raises:
        UsageError: naming the one that is wrong.
    """
    if least_voxels < 1:
        raise UsageError(f"least voxels of a lesion: 1 or more, got {least_voxels}")
    if slice_thickness is not None and not (math.isfinite(slice_thickness) and slice_thickness > 0):
        raise UsageError(f"slice thickness: a positive number of mm, got {slice_thickness}")
