"""``medlsam lesion follow-up``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli import flags
from medlsam.cli.common import AsJson, answers, messages, print_json, report_errors
from medlsam.cli.lesion.flags import InstancesOption, LeastVoxels, SliceThickness
from medlsam.cli.shared.completion import DEVICES, one_of, weights
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import UsageError
from medlsam.option_fields import choice

if TYPE_CHECKING:
    from medlsam.lesion.recist.follow_up import FollowUp, Sighting


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

    Writes follow_up.csv, follow_up.json and follow_up.png, the targets with their axes drawn.
    """
    from medlsam.export.figures import png
    from medlsam.export.lesions import LesionScene, draw_follow_up
    from medlsam.lesion.recist.files import find_visit, read_visit
    from medlsam.lesion.recist.follow_up import follow_up as follow
    from medlsam.lesion.recist.tables import follow_up_document, follow_up_rows, write_rows
    from medlsam.localize.localizer import load_localizer
    from medlsam.measure.lesions import Instances
    from medlsam.runtime.atomic_files import atomic_path, write_json

    choice("instances", instances, Instances.__args__)  # type: ignore[attr-defined]
    flags.check_output_folder(output)
    chosen = _ids(targets)
    files = [find_visit(path) for path in (baseline, *later)]
    network = load_localizer(localizer, device)
    console = messages()
    visits, scenes = [], []
    with console.status("reading") as status:
        for own in files:
            status.update(f"reading {escape(own.name)}")
            visit, labels, scan = read_visit(own, network, slice_thickness, instances)  # type: ignore[arg-type]
            visits.append(visit)
            scenes.append(LesionScene(scan, labels))
    found = follow(visits, chosen, least_voxels)
    document = follow_up_document(found)
    write_json(output / "follow_up.json", document)
    write_rows(follow_up_rows(found), output / "follow_up.csv")
    if found.tracks:
        picture = png(draw_follow_up(found, scenes))
        with atomic_path(output / "follow_up.png") as temporary:
            temporary.write_bytes(picture)
    _warn(found)
    if as_json:
        print_json(document)
    else:
        answers().print(lesions_table(found))
        answers().print(response_table(found))
    console.print(f"wrote {escape(str(output))}", soft_wrap=True)


def _ids(targets: str | None) -> list[int] | None:
    if targets is None:
        return None
    try:
        return [int(part) for part in targets.split(",")]
    except ValueError:
        raise UsageError(
            f"targets: numbers of lesions with commas between them, such as 1,2, got {targets!r}"
        ) from None


def _warn(found: FollowUp) -> None:
    """Name what a person has to look at."""
    for track in found.tracks:
        for visit, sighting in zip(found.visits, track.sightings, strict=True):
            for other in sighting.ambiguous:
                might = "might have vanished" if other < 0 else f"might be lesion {other} there"
                text = f"{visit}: lesion {track.id} is lesion {sighting.lesions[0].id}, but it {might}: look at both"
                messages().print(f"[bold yellow]warning:[/] {escape(text)}", soft_wrap=True)


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
