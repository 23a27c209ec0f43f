"""``medlsam lesion measure``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli import flags
from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.lesion.flags import InstancesOption, LeastVoxels, SliceThickness, check_limits
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import MedlsamError, UsageError
from medlsam.option_fields import choice

if TYPE_CHECKING:
    from medlsam.lesion.recist.correlation import Correlation
    from medlsam.lesion.recist.lesion import Lesion
    from medlsam.volume import Image, LabelMap


@report_errors
@talkative
def measure(
    mask: Annotated[
        Path,
        typer.Argument(
            help="A lesion mask, a folder of them, or a folder of visits or cases.",
            metavar="MASK",
            show_default=False,
        ),
    ],
    scan: Annotated[
        Path | None,
        typer.Option(
            help="The mask's scan: gives mean HU, DICOM slice numbers, and a picture.",
            metavar="SCAN",
            show_default=False,
        ),
    ] = None,
    kinds: Annotated[
        Path | None,
        typer.Option(
            help='Which value is what: {"1": "m,lung"} (t primary tumour, m metastasis, n lymph node). By default the '
            "JSON file of the mask's name beside it, or in HCUCH's labels folder.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Also write lesions.csv and lesions.json there, and with a scan lesions.png.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    slice_thickness: SliceThickness = None,
    least_voxels: LeastVoxels = 50,
    instances: InstancesOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the lesions of a mask: longest diameter, short axis, volume, by RECIST 1.1.

    Of several masks, volume and diameter are also correlated.
    """
    from medlsam.lesion.recist.cautions import mask_cautions, small_cautions
    from medlsam.lesion.recist.correlation import volume_diameter_correlation
    from medlsam.lesion.recist.files import VisitFiles, find_kinds, find_masks, read_lesions
    from medlsam.lesion.recist.tables import correlation_entry, lesion_entry
    from medlsam.measure.lesions import Instances

    choice("instances", instances, Instances.__args__)  # type: ignore[attr-defined]
    check_limits(least_voxels, slice_thickness)
    masks = find_masks(mask)
    if scan is not None and len(masks) > 1:
        raise UsageError(f"--scan goes with one mask, but {mask} holds {len(masks)}")
    if output is not None:
        _check_output(output, masks.values())
    measured: dict[str, list[Lesion]] = {}
    left_out: dict[str, int] = {}
    failed: dict[str, str] = {}
    picture: bytes | None = None
    for case, file in masks.items():
        files = VisitFiles(case, file, scan, kinds or find_kinds(file))
        try:
            everything, labels, image = read_lesions(files, 1, instances)  # type: ignore[arg-type]
        except MedlsamError as error:
            if len(masks) == 1:
                raise
            failed[files.name] = str(error)
            continue
        lesions = [own for own in everything if own.measured.voxels >= least_voxels]
        measured[files.name] = lesions
        left_out[files.name] = len(everything) - len(lesions)
        small = small_cautions(files.name, everything, least_voxels, slice_thickness)
        for text in (*mask_cautions(files.name, lesions, str(files.kinds or "")), *small):
            messages().print(f"[bold yellow]warning:[/] {escape(text)}", soft_wrap=True)
        if output is not None and image is not None and lesions:
            picture = _drawn(image, labels, lesions, files.name)
    found = volume_diameter_correlation(own for lesions in measured.values() for own in lesions)
    document: dict[str, Any] = {
        "mask": str(mask),
        "scan": None if scan is None else str(scan),
        "least_voxels": least_voxels,
        "lesions": [
            {"case": case, **lesion_entry(own, slice_thickness)}
            for case, lesions in measured.items()
            for own in lesions
        ],
        "left_out": left_out,
        "correlation": [correlation_entry(own) for own in found],
        "failed": failed,
    }
    if output is not None:
        _write(output, document, picture)
    for case, what in failed.items():
        errors().print(f"[bold red]failed:[/] {escape(case)}: {escape(what)}", soft_wrap=True)
    if as_json:
        print_json(document)
    else:
        answers().print(lesion_table(document))
        if found:
            answers().print(correlation_table(found))
    raise typer.Exit(SOME_FAILED if failed else 0)


def _check_output(output: Path, masks: Iterable[Path]) -> None:
    """Refuse, before any work, a folder in which our files would be taken for those of others, or theirs be lost."""
    import json

    flags.check_output_folder(output)
    if any(output.resolve() == mask.resolve().parent for mask in masks):
        raise UsageError(
            f"{output}: the mask lies there, and lesions.json beside a mask says its kinds; give another folder"
        )
    there = [output / name for name in ("lesions.json", "lesions.csv") if (output / name).exists()]
    try:
        ours = "least_voxels" in json.loads((output / "lesions.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if there and not ours:
        raise UsageError(f"{there[0]}: this file is not of lesion measure; give another folder")


def _drawn(image: Image, labels: LabelMap, lesions: list[Lesion], title: str) -> bytes:
    from medlsam.export.figures import png
    from medlsam.export.lesions.diameters import draw_diameters

    return png(draw_diameters(image, labels, lesions, title))


def _write(output: Path, document: dict[str, Any], picture: bytes | None) -> None:
    from medlsam.lesion.recist.tables import LESION_COLUMNS, write_rows
    from medlsam.runtime.atomic_files import atomic_path, write_json

    write_json(output / "lesions.json", document)
    rows = [{key: own[key] for key in LESION_COLUMNS} for own in document["lesions"]]
    write_rows(rows, output / "lesions.csv", LESION_COLUMNS)
    if picture is None:
        # One of an earlier call would show other lesions than the tables.
        (output / "lesions.png").unlink(missing_ok=True)
    else:
        with atomic_path(output / "lesions.png") as temporary:
            temporary.write_bytes(picture)
    messages().print(f"wrote {escape(str(output))}", soft_wrap=True)


def lesion_table(document: dict[str, Any]) -> Table:
    """One line a lesion."""
    lesions = document["lesions"]
    several = len({own["case"] for own in lesions}) > 1
    table = Table(title=f"{Path(document['mask']).name}: {len(lesions)} lesions")
    for head in (*(("case",) if several else ()), "lesion", "type", "site"):
        table.add_column(head, no_wrap=True)
    for head in ("longest mm", "short axis mm", "HCUCH mm", "volume ml", "slice"):
        table.add_column(head, justify="right")
    table.add_column("RECIST 1.1")
    for own in lesions:
        table.add_row(
            *((escape(own["case"]),) if several else ()),
            str(own["id"]), own["type"], escape(own["site"]) or "–", f"{own['longest_mm']:.1f}",
            f"{own['perpendicular_mm']:.1f}", f"{own['hcuch_mm']:.1f}", f"{own['volume_ml']:.2f}", str(own["slice"]),
            own["measurable"].replace("_", "-") + (", cut off" if own["cut_off"] else ""),
        )  # fmt: skip
    known = any(own["type"] or own["site"] for own in lesions)
    how = "nodes count by their short axis" if known else "nobody says which are nodes: all count as none"
    small = sum(document["left_out"].values())
    table.caption = f"lesions of at least {document['least_voxels']} voxels, {small} smaller left out; {how}"
    return table


def correlation_table(found: list[Correlation]) -> Table:
    """Spearman's correlation of volume and diameter."""
    table = Table(title="volume and diameter: Spearman's correlation")
    for head in ("organ", "lesions", "rho", "p"):
        table.add_column(head, justify="left" if head == "organ" else "right")
    for own in found:
        table.add_row(escape(own.organ), str(own.n), f"{own.rho:.2f}", f"{own.p:.1g}")
    return table
