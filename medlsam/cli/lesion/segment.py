"""``medlsam lesion segment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli.common import SOME_FAILED, AsJson, answers, messages, print_json, report_errors
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import DEVICES, one_of
from medlsam.cli.shared.failures import errors
from medlsam.cli.shared.loudness import talkative


@report_errors
@talkative
def segment(
    images: Annotated[
        Path,
        typer.Argument(
            help="A scan, a folder of scans, or an nnU-Net dataset.", metavar="PATH", show_default=False
        ),
    ],
    weights: Annotated[
        list[Path],
        typer.Option(
            help="A file that medlsam.lesion.inception.train wrote; several are averaged (give it again for each).",
            metavar="FILE.safetensors",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for <case>.nii.gz and labels.json.", metavar="DIR")],
    overlap: Annotated[
        float, typer.Option(help="Share of a window that the next one covers again.", metavar="SHARE")
    ] = 0.5,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Also see every window mirrored: eight times the work.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write label maps anew.")] = False,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", autocompletion=one_of(DEVICES)),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Segment lesions with a network that was trained on them; no prompt and no template is needed.

    Each label map lies on its scan's own grid. Those that are there already stay.
    """
    from medlsam.lesion.inception.segment import LABELS_FILE, segment_scans

    with case_bar(messages()) as bar:
        done = list(
            segment_scans(
                images,
                weights,
                output,
                device=device,
                overlap=overlap,
                mirror=mirror,
                overwrite=overwrite,
                on_progress=bar.count,
            )
        )
    failed = [one for one in done if one.error is not None]
    for one in failed:
        errors().print(f"[bold red]failed:[/] {escape(one.case)}: {escape(one.error or '')}", soft_wrap=True)
    skipped = [one.case for one in done if one.skipped]
    if skipped:
        messages().print(f"{len(skipped)} label maps were there already; --overwrite writes them anew")
    if as_json:
        print_json({"output": str(output), "cases": [one.to_dict() for one in done]})
    else:
        table = Table(title="lesions")
        for head in ("case", "lesion", "ml"):
            table.add_column(head, justify="right" if head == "ml" else "left")
        for one in done:
            for name, volume in one.volumes_ml.items():
                table.add_row(escape(one.case), escape(name), f"{volume:.2f}")
        answers().print(table)
    messages().print(
        f"wrote {escape(str(output / LABELS_FILE))} and the label maps beside it", soft_wrap=True
    )
    raise typer.Exit(SOME_FAILED if failed else 0)
