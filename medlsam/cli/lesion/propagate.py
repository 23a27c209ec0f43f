"""``medlsam lesion propagate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import DEVICES, one_of, weights
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import UsageError
from medlsam.option_fields import choice

if TYPE_CHECKING:
    from medlsam.lesion.propagate.run import LesionMask, PropagatedLesions, Propagator
    from medlsam.volume import Image

#: How a mask is handed on from slice to slice.
METHODS = ("memory", "medsam2")


@report_errors
@talkative
def propagate(
    scan: Annotated[
        Path,
        typer.Argument(
            help="A scan: a file, a DICOM series or a zip of one.", metavar="SCAN", show_default=False
        ),
    ],
    prompts: Annotated[
        Path,
        typer.Option(
            help="The marked lesions: .json (ours), .mrk.json or .fcsv (3D Slicer), .csv (DeepLesion).",
            metavar="FILE",
        ),
    ],
    output: Annotated[Path, typer.Option(help="The folder to write to.", metavar="DIR")],
    organs: Annotated[
        Path | None,
        typer.Option(
            help="Organ masks: a label map, TotalSegmentator's folder, a case's folder of `medlsam segment`, or a "
            "localization.json.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="memory (ours, with any segmenter), or medsam2 (its own package and weights).",
            autocompletion=one_of(METHODS),
        ),
    ] = METHODS[0],
    segmenter: Annotated[
        str,
        typer.Option(
            help="A known name or a weights file; with --method medsam2 its checkpoint.",
            metavar="NAME|FILE",
            autocompletion=weights("segmenter"),
        ),
    ] = "sam-tiny",
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=one_of(DEVICES)),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Segment lesions in 3D from a box, a pair of diameters or a point on one slice each.

    Writes lesions.nii.gz (a label map on the scan's own grid) with labels.json, lesions.json (organ, volume, slices,
    diameters) and lesions.png. A lesion that cannot be segmented is reported, and the others are written.
    """
    choice("method", method, METHODS)
    if output.is_file():
        raise UsageError(f"{output}: this is a file; name a folder")
    from medlsam.io.read import read_image
    from medlsam.lesion.propagate.organ_files import read_organs
    from medlsam.lesion.propagate.prompts import read_prompts
    from medlsam.lesion.propagate.run import propagate_lesions

    console = messages()
    with case_bar(console) as bar:
        bar.say("scan")
        image = read_image(scan)
        marked = read_prompts(prompts, image)
        masks = None if organs is None else read_organs(organs, image.grid)
        bar.say("weights")
        propagator = _propagator(method, segmenter, device)
        done = propagate_lesions(image, marked.lesions, propagator, masks, on_progress=bar.say)
        # a name may be bad here and fail there
        failed = [*marked.bad.items(), *done.failed.items()]
        bar.say("files")
        document = _write(done, failed, scan, image, output)
    for name, text in failed:
        words = text if text.startswith(name) else f"{name}: {text}"
        console.print(f"[bold red]failed:[/] {escape(words)}", soft_wrap=True)
    for pair in done.overlaps:
        console.print(
            escape(f"warning: {pair[0]} and {pair[1]} overlap; in the label map the second has the voxels")
        )
    console.print(escape(f"wrote {output / 'lesions.nii.gz'}"), soft_wrap=True)
    if as_json:
        print_json(document)
    else:
        answers().print(_table(done.lesions))
    raise typer.Exit(SOME_FAILED if failed else 0)


def _propagator(method: str, segmenter: str, device: str) -> Propagator:
    if method == "medsam2":
        from medlsam.lesion.propagate.medsam2 import load_medsam2

        return load_medsam2(None if segmenter == "sam-tiny" else segmenter, device)
    from medlsam.lesion.propagate.run import MemoryPropagator
    from medlsam.segment.load import load_segmenter

    return MemoryPropagator(load_segmenter(segmenter, device))


def _write(
    done: PropagatedLesions, failed: list[tuple[str, str]], scan: Path, image: Image, output: Path
) -> dict[str, object]:
    from medlsam.export.figures import png
    from medlsam.export.lesions.masks import draw_lesions
    from medlsam.io.write import write_volume
    from medlsam.runtime.atomic_files import atomic_path, write_json

    document = {"scan": str(scan), **done.to_dict()}
    document["failed"] = [{"name": name, "error": text} for name, text in failed]
    picture = png(draw_lesions(image, done.lesions)) if done.lesions else None
    write_volume(done.labels, output / "lesions.nii.gz", names=done.names)
    write_json(output / "labels.json", {str(value): name for value, name in done.names.items()})
    if picture is None:
        # that of an earlier run shows other lesions
        (output / "lesions.png").unlink(missing_ok=True)
    else:
        with atomic_path(output / "lesions.png") as temporary:
            temporary.write_bytes(picture)
    write_json(output / "lesions.json", document)
    return document


def _table(lesions: tuple[LesionMask, ...]) -> Table:
    """One line for each lesion."""
    table = Table()
    for head in ("lesion", "type", "organ", "distance mm", "volume ml", "slices", "longest mm", "across mm"):
        table.add_column(head, justify="right" if head.endswith(("mm", "ml", "slices")) else "left")
    for lesion in lesions:
        organ, distance = "–", "–"
        if lesion.organ is not None:
            named = [lesion.organ.organ or "none near", *lesion.organ.ambiguous_with]
            organ = " or ".join(named)
            distance = "–" if lesion.organ.distance_mm is None else f"{lesion.organ.distance_mm:.0f}"
        table.add_row(
            escape(lesion.prompt.name),
            escape(lesion.prompt.type or "–"),
            escape(organ),
            distance,
            f"{lesion.volume_ml:.2f}",
            str(lesion.slices),
            f"{lesion.longest_mm:.1f}",
            f"{lesion.perpendicular_mm:.1f}",
        )
    return table
