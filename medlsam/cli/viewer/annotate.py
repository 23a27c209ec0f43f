"""``medlsam annotate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from medlsam.cli.common import messages, report_errors
from medlsam.cli.shared.loudness import talkative
from medlsam.cli.viewer.options import OpenBrowser, Port


@report_errors
@talkative
def annotate(
    scans: Annotated[
        Path,
        typer.Argument(
            help="Scans, as `segment --images` takes them: a folder, a file, a DICOM series or a zip of one.",
            metavar="SCANS",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="The templates folder; one that is there is gone on with.", metavar="TEMPLATES"),
    ],
    support: Annotated[
        Path | None,
        typer.Option(
            help="Templates that are there already: their structures are proposed in each scan.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    port: Port = 0,
    browser: OpenBrowser = True,
) -> None:
    """Make templates by clicking: six extreme points of each structure, in the browser. Ctrl-C ends it.

    Every click is saved at once, in files that 3D Slicer opens. The page is served to this machine only, at an address
    with a token of its own.
    """
    from medlsam.io.cases import find_cases
    from medlsam.viewer.annotate.project import AnnotationProject
    from medlsam.viewer.annotate_routes import AnnotatePage
    from medlsam.viewer.serve import PageServer

    console = messages()
    with AnnotationProject(find_cases(scans), output, support) as project:
        server = PageServer(AnnotatePage(project).routes(), port)

        def ready(url: str) -> None:
            console.print(f"{escape(str(output))} is made at {escape(url)}", soft_wrap=True)
            console.print("every click is saved; Ctrl-C ends it", soft_wrap=True)

        server.run(ready, browser)
