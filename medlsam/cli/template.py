"""``medlsam template build`` and ``medlsam template show``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli import flags
from medlsam.cli.common import AsJson, answers, messages, print_json, told
from medlsam.cli.progress import case_bar
from medlsam.errors import TemplateError, UsageError
from medlsam.geometry import FACES
from medlsam.options import read_options

if TYPE_CHECKING:
    from medlsam.localize.templates import TemplateSet

app = typer.Typer(help="Make and look at template files.", no_args_is_help=True)


@app.command()
@told
def build(
    path: Annotated[Path, typer.Argument(help="The templates folder.", metavar="PATH", show_default=False)],
    output: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE.medlsam")],
    cases: flags.TemplateCases = None,
    organs: flags.Organs = None,
    localizer: flags.Localizer = None,
    device: flags.Device = None,
    config: flags.Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a template file from a folder of labelled scans.

    Each template is located with the others, and the table of that is printed: what to expect of each
    structure, and which template does not fit.
    """
    options = read_options(config, {"organs": organs, "localizer": localizer, "device": device})
    from medlsam.pipeline import load

    if output.is_dir():
        raise UsageError(f"{output}: this is a folder; name a file, such as {output / 'templates.medlsam'}")
    if not path.is_dir():
        raise TemplateError(f"{path}: there is no such templates folder")
    console = messages()
    with case_bar(console) as bar:
        model = load(options.localizer, options.segmenter, options.device)
        bar.say("templates")
        templates = model.templates(path, options.organs, cases, on_progress=bar.say)
    try:
        templates.save(output)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror or error})") from error
    console.print(f"wrote {escape(str(output))}", soft_wrap=True)
    _answer(templates, as_json)


@app.command()
@told
def show(
    file: Annotated[
        Path, typer.Argument(help="A template file.", metavar="FILE.medlsam", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a template file holds."""
    from medlsam.localize.templates import TemplateSet

    _answer(TemplateSet.load(file), as_json)


def _answer(templates: TemplateSet, as_json: bool) -> None:
    if as_json:
        print_json(to_dict(templates))
    else:
        answers().print(leave_one_out_table(templates))


def to_dict(templates: TemplateSet) -> dict[str, Any]:
    """What a template file holds, as JSON values."""
    organs: dict[str, Any] = {}
    for name in templates.organs:
        found = templates.calibration.get(name)
        organs[name] = {
            "value": templates.values[name],
            "supports": [support.support for support in templates.supports[name]],
            "leave_one_out": None
            if found is None
            else {
                "n": found.n,
                "iou": round(found.iou, 4),
                "face_error_mm": {
                    face: round(v, 2) for face, v in zip(FACES, found.face_error_mm, strict=True)
                },
                "margin_mm": {face: round(v, 2) for face, v in zip(FACES, found.margin_mm, strict=True)},
                "similarity": round(found.similarity, 4),
            },
        }
    return {
        "source": templates.source,
        "signature": templates.signature,
        "supports": list(templates.support_names),
        "organs": organs,
    }


def leave_one_out_table(templates: TemplateSet) -> Table:
    """One line per structure: how well each support was located with the others."""
    count = len(templates.support_names)
    table = Table(title=f"{templates.source or 'templates'}: {count} templates, leave-one-out")
    table.add_column("structure", no_wrap=True)
    for head in ("label", "templates", "box IoU", "wall mm", *FACES, "largest margin mm", "similarity"):
        table.add_column(head, justify="right")
    for name in templates.organs:
        found = templates.calibration.get(name)
        cells = ["–"] * 10
        if found is not None:
            errors = found.face_error_mm
            cells = [f"{found.iou:.2f}", f"{sum(errors) / len(errors):.1f}", *(f"{e:.1f}" for e in errors)]
            cells += [f"{max(found.margin_mm):.1f}", f"{found.similarity:.2f}"]
        table.add_row(escape(name), str(templates.values[name]), str(len(templates.supports[name])), *cells)
    table.caption = (
        "mean over the templates that could be tried with the others; wall and the faces x- to z+ are the "
        "mean absolute error in mm"
    )
    return table
