"""``medlsam template build`` and ``medlsam template show``."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from medlsam.cli import flags
from medlsam.cli.common import (
    AsJson,
    answers,
    load_with_templates,
    messages,
    print_json,
    report_errors,
    warn_of_misfits,
)
from medlsam.cli.progress import case_bar
from medlsam.cli.shared.completion import one_of
from medlsam.cli.shared.loudness import talkative
from medlsam.errors import TemplateError, UsageError
from medlsam.option_fields import choice
from medlsam.options import InferenceOptions

if TYPE_CHECKING:
    from medlsam.localize.templates.adapted import AdaptedDecoder
    from medlsam.localize.templates.template_set import StructureCalibration, TemplateSet

#: Which margin a template file promises.
MARGINS = ("calibrated", "paper")

app = typer.Typer(help="Make and look at template files.", no_args_is_help=True)


@app.command()
@report_errors
@talkative
@flags.inference(until="templates")
def build(
    path: Annotated[Path, typer.Argument(help="The templates folder.", metavar="PATH", show_default=False)],
    output: Annotated[Path, typer.Option(help="The file to write.", metavar="FILE.medlsam")],
    options: InferenceOptions,
    cases: flags.TemplateCases = None,
    margin: Annotated[
        str,
        typer.Option(
            help="Of the boxes: calibrated, or paper (30 mm in plane, 6 mm along z).",
            autocompletion=one_of(MARGINS),
        ),
    ] = MARGINS[0],
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Also adapt sam-tiny's mask decoder to the templates, a minute or two. Structures whose held-out "
            "templates gain by it use it.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a template file from a folder of labelled scans.

    Each template is located with the others, and the table of that is printed: what to expect of each
    structure, and which template does not fit.
    """
    choice("margin", margin, MARGINS)
    from medlsam.localize.confidence.leave_one_out import with_paper_margin

    if output.is_dir():
        raise UsageError(f"{output}: this is a folder; name a file, such as {output / 'templates.medlsam'}")
    if not path.is_dir():
        raise TemplateError(f"{path}: there is no such templates folder")
    console = messages()
    with case_bar(console) as bar:
        _, templates = load_with_templates(options, path, bar, cases, adapt)
        if margin == "paper":
            templates = with_paper_margin(templates)
    try:
        templates.save(output)
    except OSError as error:
        raise UsageError(f"{output}: cannot be written ({error.strerror or error})") from error
    console.print(f"wrote {escape(str(output))}", soft_wrap=True)
    _answer(templates, as_json)


@app.command()
@report_errors
def show(
    file: Annotated[
        Path, typer.Argument(help="A template file.", metavar="FILE.medlsam", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a template file holds."""
    from medlsam.localize.templates.template_set import TemplateSet

    _answer(TemplateSet.load(file), as_json)


def _answer(templates: TemplateSet, as_json: bool) -> None:
    if as_json:
        print_json(to_dict(templates))
    else:
        answers().print(leave_one_out_table(templates))
        if templates.outlier_scores:
            answers().print(template_table(templates))
        if templates.adapted is not None:
            answers().print(adapted_table(templates.adapted))
    warn_of_misfits(messages(), templates)


def to_dict(templates: TemplateSet) -> dict[str, Any]:
    """What a template file holds, as JSON values."""
    structures: dict[str, Any] = {}
    for name in templates.structures:
        found = templates.calibration.get(name)
        structures[name] = {
            "value": templates.values[name],
            "supports": [template.template for template in templates.by_structure[name]],
            "parts": [template.parts for template in templates.by_structure[name]],
            "leave_one_out": None if found is None or not found.n else _leave_one_out(found),
        }
        if templates.adapted is not None and name in templates.adapted.scores:
            score = templates.adapted.scores[name]
            structures[name]["adapted"] = {**vars(score), "used": score.better}
    return {
        "source": templates.source,
        "signature": templates.signature,
        "supports": list(templates.template_names),
        "organs": structures,
        "misfit": {
            template: {structure: round(value, 2) for structure, value in own.items()}
            for template, own in templates.outlier_scores.items()
        },
        "findings": [{**f.to_dict(), "message": f.message} for f in templates.issues],
    }


def _leave_one_out(found: StructureCalibration) -> dict[str, Any]:
    from medlsam.geometry import FACES

    return {
        "n": found.n,
        "iou": round(found.iou, 4),
        "face_error_mm": {face: round(v, 2) for face, v in zip(FACES, found.face_error_mm, strict=True)},
        "margin_mm": {face: round(v, 2) for face, v in zip(FACES, found.margin_mm, strict=True)},
        "similarity": round(found.similarity, 4),
    }


def leave_one_out_table(templates: TemplateSet) -> Table:
    """One line per structure: how well each support was located with the others."""
    from medlsam.geometry import FACES

    count = len(templates.template_names)
    table = Table(title=f"{templates.source or 'templates'}: {count} templates, leave-one-out")
    table.add_column("structure", no_wrap=True)
    heads = (
        "label",
        "templates",
        "tried",
        "box IoU",
        "wall mm",
        *FACES,
        "margin mm",
        "largest",
        "similarity",
    )
    for head in heads:
        table.add_column(head, justify="right")
    for name in templates.structures:
        found = templates.calibration.get(name)
        cells = ["–"] * (len(heads) - 2)
        if found is not None:
            errors, margins = found.face_error_mm, found.margin_mm
            tried = [f"{found.iou:.2f}", f"{mean(errors):.1f}", *(f"{e:.1f}" for e in errors)]
            cells = [str(found.n), *(tried if found.n else ["–"] * len(tried))]
            cells += [f"{mean(margins):.1f}", f"{max(margins):.1f}", f"{found.similarity:.2f}"]
        table.add_row(
            escape(name), str(templates.values[name]), str(len(templates.by_structure[name])), *cells
        )
    table.caption = (
        "mean over the templates that could be tried with the others (so with one template fewer than in use); "
        "wall and the faces x- to z+ are the mean absolute error in mm; 90 % of all faces lie within their margin"
        if any(c.n for c in templates.calibration.values())
        else "nothing could be calibrated, since no structure has two templates: margins and thresholds are the "
        "stated defaults"
    )
    return table


def adapted_table(adapted: AdaptedDecoder) -> Table:
    """One line per structure: what adapting the decoder was worth on held-out templates."""
    table = Table(title="the decoder adapted to the templates")
    table.add_column("structure", no_wrap=True)
    for head in ("tried", "Dice before", "after", "used"):
        table.add_column(head, justify="right")
    for name, score in adapted.scores.items():
        figures = [f"{score.before:.3f}", f"{score.after:.3f}"] if score.n else ["–", "–"]
        table.add_row(escape(name), str(score.n), *figures, "yes" if score.better else "no")
    table.caption = (
        "mean Dice of located masks in templates that neither located them nor adapted the decoder"
    )
    return table


def template_table(templates: TemplateSet) -> Table:
    """One line per template: how well its marks agree with the others'."""
    table = Table(title="how the templates fit each other")
    for head in ("template", "structures", "misfit", "worst misfit", "structure"):
        table.add_column(head, justify="right" if "misfit" in head or head == "structures" else "left")
    for template, own in templates.outlier_scores.items():
        worst = max(own, key=lambda structure: own[structure], default=None)
        cells = ["–", "–", ""]
        if worst is not None:
            cells = [f"{median(own.values()):.2f}", f"{own[worst]:.2f}", escape(worst)]
        table.add_row(escape(template), str(len(own)), *cells)
    table.caption = "median and largest over the structures; from 1 on a template is named below"
    return table
