"""``medlsam lesion follow-up``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli import flags
from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.lesion.flags import InstancesOption, LeastVoxels, SliceThickness, check_limits
from medlsam.cli.shared.completion import DEVICES, one_of, weights
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import MedlsamError, UsageError
from medlsam.option_fields import choice

if TYPE_CHECKING:
    from medlsam.export.lesions.diameters import LesionScene
    from medlsam.lesion.recist.files import VisitFiles
    from medlsam.lesion.recist.follow_up import Visit
    from medlsam.lesion.recist.track import FollowUp, Sighting
    from medlsam.localize.localizer import Localizer


@report_errors
@talkative
def follow_up(
    baseline: Annotated[
        Path,
        typer.Argument(
            help="The first visit: a folder with image.nii.gz and lesions.nii.gz, and perhaps lesions.json with the "
            "kinds; or a mask of HCUCH.",
            metavar="BASELINE",
            show_default=False,
        ),
    ],
    later: Annotated[
        list[Path],
        typer.Argument(help="The later visits, in order of time.", metavar="FOLLOWUP...", show_default=False),
    ],
    output: flags.Output,
    targets: Annotated[
        str | None,
        typer.Option(
            help="Ids of the baseline's target lesions, comma-separated, as lesion measure prints them; by default at "
            "most five are chosen, two an organ.",
            metavar="1,2",
            show_default=False,
        ),
    ] = None,
    localizer: Annotated[
        str,
        typer.Option(
            help="The localizer by whose embedding lesions are found again.",
            metavar="NAME|FILE",
            autocompletion=weights("localizer"),
            rich_help_panel="How",
        ),
    ] = "medlam-tiny",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda, cuda:N or mps.",
            metavar="NAME",
            autocompletion=one_of(DEVICES),
            rich_help_panel="How",
        ),
    ] = "auto",
    slice_thickness: SliceThickness = None,
    least_voxels: LeastVoxels = 50,
    instances: InstancesOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Follow the lesions of a patient over the visits: matched, summed, and the response by RECIST 1.1.

    Writes follow_up.csv, follow_up.json and follow_up.png: the targets and new lesions with their axes drawn. A later
    visit that cannot be read is named, and not evaluable; the others are followed.
    """
    from medlsam.lesion.recist.cautions import follow_up_cautions
    from medlsam.lesion.recist.files import distinct_names, find_visit
    from medlsam.lesion.recist.follow_up import follow_up as follow
    from medlsam.lesion.recist.tables import follow_up_document
    from medlsam.localize.localizer import load_localizer
    from medlsam.measure.lesions import Instances

    choice("instances", instances, Instances.__args__)  # type: ignore[attr-defined]
    check_limits(least_voxels, slice_thickness)
    flags.check_output_folder(output)
    chosen = _ids(targets)
    paths = (baseline, *later)
    files = distinct_names([find_visit(path) for path in paths], paths)
    visits, scenes = _read(files, load_localizer(localizer, device), slice_thickness, instances)
    found = follow(visits, chosen, least_voxels)
    document = follow_up_document(found)
    document["failed"] = failed = {visit.name: visit.unread for visit in visits if visit.unread}
    _write(output, document, found, scenes)
    for visit, what in failed.items():
        errors().print(f"[bold red]failed:[/] {escape(visit)}: {escape(what)}", soft_wrap=True)
    for text in follow_up_cautions(found, visits, least_voxels):
        messages().print(f"[bold yellow]warning:[/] {escape(text)}", soft_wrap=True)
    if as_json:
        print_json(document)
    else:
        answers().print(lesions_table(found))
        answers().print(response_table(found))
    messages().print(f"wrote {escape(str(output))}", soft_wrap=True)
    raise typer.Exit(SOME_FAILED if failed else 0)


def _read(
    files: list[VisitFiles], network: Localizer, slice_thickness: float | None, instances: str
) -> tuple[list[Visit], list[LesionScene | None]]:
    """Read all visits; of later ones, those that cannot be read say why."""
    from medlsam.export.lesions.diameters import LesionScene
    from medlsam.lesion.recist.cautions import mask_cautions
    from medlsam.lesion.recist.files import read_visit
    from medlsam.lesion.recist.follow_up import Visit

    visits: list[Visit] = []
    scenes: list[LesionScene | None] = []
    with messages().status("reading") as status:
        for own in files:
            status.update(f"reading {escape(own.name)}")
            try:
                visit, labels, scan = read_visit(own, network, slice_thickness, instances)  # type: ignore[arg-type]
            except MedlsamError as error:
                # Without a baseline, or with nothing but a baseline, there is nothing to tell.
                if not visits or (own is files[-1] and all(visit.unread for visit in visits[1:])):
                    raise
                visits.append(Visit(own.name, (), None, slice_thickness, str(error)))
                scenes.append(None)
                continue
            for text in mask_cautions(own.name, visit.lesions, str(own.kinds or "")):
                messages().print(f"[bold yellow]warning:[/] {escape(text)}", soft_wrap=True)
            visits.append(visit)
            scenes.append(LesionScene(scan, labels))
    return visits, scenes


def _write(output: Path, document: dict[str, Any], found: FollowUp, scenes: list[LesionScene | None]) -> None:
    from medlsam.export.figures import png
    from medlsam.export.lesions.diameters import draw_follow_up
    from medlsam.lesion.recist.tables import FOLLOW_UP_COLUMNS, follow_up_rows, write_rows
    from medlsam.runtime.atomic_files import atomic_path, write_json

    # Drawn before anything is written: either all files are of this call, or none.
    picture = png(draw_follow_up(found, scenes)) if found.tracks else None
    write_json(output / "follow_up.json", document)
    write_rows(follow_up_rows(found), output / "follow_up.csv", FOLLOW_UP_COLUMNS)
    if picture is None:
        (output / "follow_up.png").unlink(missing_ok=True)
    else:
        with atomic_path(output / "follow_up.png") as temporary:
            temporary.write_bytes(picture)


def _ids(targets: str | None) -> list[int] | None:
    if targets is None:
        return None
    try:
        return [int(part) for part in targets.split(",")]
    except ValueError:
        raise UsageError(
            f"targets: numbers of lesions with commas between them, such as 1,2, got {targets!r}"
        ) from None


def lesions_table(found: FollowUp) -> Table:
    """One line a lesion, its diameter at each visit."""
    table = Table(title="lesions")
    for head in ("lesion", "as", "type", "site"):
        table.add_column(head, no_wrap=True)
    for visit in found.visits:
        table.add_column(f"{escape(visit)}: mm (ml)", justify="right")
    from medlsam.lesion.recist.lesion import TYPE_NAMES

    for track in found.tracks:
        name = f"{track.id} {track.alias}".strip()
        kind = (TYPE_NAMES[track.kind.type], escape(track.kind.site) or "–")
        table.add_row(name, track.role, *kind, *(_told(sighting) for sighting in track.sightings))
    table.caption = "longest axial diameter, of nodes the short axis; ? where the match is ambiguous"
    return table


def _told(sighting: Sighting) -> str:
    if not sighting.lesions:
        return "–" if sighting.state == "not_yet" else sighting.state.replace("_", " ")
    parts = f" in {len(sighting.lesions)}" if len(sighting.lesions) > 1 else ""
    mark = " ?" if sighting.ambiguous else ""
    return f"{sighting.diameter_mm:.1f} ({sighting.volume_ml:.1f}){parts}{mark}"


def response_table(found: FollowUp) -> Table:
    """One line a visit: the sum, its changes, the response."""
    table = Table(title="response by RECIST 1.1")
    table.add_column("visit", no_wrap=True)
    for head in ("sum mm", "from baseline", "from nadir", "new"):
        table.add_column(head, justify="right")
    for head in ("targets", "non-targets", "overall", "because"):
        table.add_column(head)
    sums = ["–" if mm is None else f"{mm:.1f}" for mm in found.sums_mm]
    table.add_row(escape(found.visits[0]), sums[0], *["–"] * 5, "baseline", "")
    for visit, total, own in zip(found.visits[1:], sums[1:], found.assessments, strict=True):
        changes = [
            "–" if share is None else f"{100 * share:+.0f} %" for share in (own.from_baseline, own.from_nadir)
        ]
        table.add_row(
            escape(visit), total, *changes, str(own.new_lesions), own.target or "–", own.non_target or "–",
            own.overall, own.reason,
        )  # fmt: skip
    return table
