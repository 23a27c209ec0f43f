"""The tables of the lesion demo, for the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from rich.markup import escape as plain
from rich.table import Table

from medlsam.demo.lesion_result import DemoVisit, LesionDemoResult
from medlsam.lesion.recist.lesion import Lesion
from medlsam.runtime.atomic_files import write_text

#: Heads and rows of a table.
Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def lesion_rows(result: LesionDemoResult) -> Rows:
    """One row a lesion: measured at both visits with the truth in brackets, and whether it was followed right."""
    heads = ["lesion", "kind", "organ"]
    heads += [f"{visit.name} {what}" for visit in result.visits for what in ("mm", "ml")]
    right = result.matches()
    rows = []
    for key in sorted({own.id for visit in result.visits for own in visit.phantom.lesions}):
        drawn = [next((own for own in v.phantom.lesions if own.id == key), None) for v in result.visits]
        truth = next(own for own in drawn if own is not None)
        cells, scores, organs = [], [], []
        for visit, own in zip(result.visits, drawn, strict=True):
            lesion = _found(visit, key)
            if own is None:
                cells += ["–", "–"]
            elif lesion is None:
                cells += ["failed", "failed"]
            else:
                true_mm = own.perpendicular_mm if lesion.node else own.longest_mm
                cells += [f"{lesion.diameter_mm:.1f} ({true_mm:.1f})"]
                cells += [f"{lesion.measured.volume_ml:.2f} ({own.volume_ml:.2f})"]
                scores.append(f"{visit.dice[lesion.id]:.2f}")
                organs.append(lesion.kind.site or "none")
        wrong = [organ for organ in dict.fromkeys(organs) if organ != truth.organ]
        organ = truth.organ.replace("_", " ") + (f", found: {', '.join(wrong)}" if wrong else "")
        fate = "stays" if None not in drawn else "new" if drawn[0] is None else "vanishes"
        followed = f"{fate}: {'right' if right.get(key) else 'missed'}"
        rows.append((str(key), truth.kind.replace("_", " "), organ, *cells, " ".join(scores), followed))
    return (*heads, "Dice", "followed"), rows


def response_rows(result: LesionDemoResult) -> Rows:
    """The sum of the targets' diameters and the response, measured and true."""
    rows = []
    measured = (result.followed.sums_mm[0], result.followed.sums_mm[1])
    for name, sums, own in (
        ("measured", measured, result.response),
        ("true", (result.true_response.nadir_mm, result.true_response.sum_mm), result.true_response),
    ):
        change = "–" if own.from_baseline is None else f"{100 * own.from_baseline:+.0f} %"
        texts = ["–" if mm is None else f"{mm:.1f}" for mm in sums]
        targets = "–" if own.target is None else own.target.value
        rows.append((name, *texts, change, targets, str(own.new_lesions), own.overall.value, own.reason))
    heads = (
        "",
        *(f"{visit.name}, mm" for visit in result.visits),
        "change",
        "targets",
        "new",
        "response",
        "because",
    )
    return heads, rows


def lesion_tables(result: LesionDemoResult) -> list[Table]:
    """Both tables, for the terminal."""
    tables = []
    titles = ("Lesions from one box each, with the truth in brackets", "Response by RECIST 1.1")
    for title, (heads, rows) in zip(titles, (lesion_rows(result), response_rows(result)), strict=True):
        table = Table(title=title)
        for number, head in enumerate(heads):
            table.add_column(
                plain(head), justify="right" if head.endswith(("mm", "ml")) else "left", no_wrap=number == 0
            )
        for row in rows:
            table.add_row(*(plain(cell) for cell in row))
        tables.append(table)
    tables[0].caption = "mm: longest axial diameter, of nodes the short axis"
    parts = ", ".join(f"{part} {seconds:.0f}" for part, seconds in result.seconds.items())
    tables[1].caption = f"{sum(result.seconds.values()):.0f} s: {parts}"
    return tables


def write_lesion_report(result: LesionDemoResult, pictures: dict[str, Path]) -> None:
    """Write ``report.html``: the tables, and the pictures from their files.

    Args:
        result: of the demo; the report lies in its folder.
        pictures: what each shows, and its file below that folder.
    """
    same = result.response.overall == result.true_response.overall
    right = result.matches()
    body = [
        "<h1>Lesions of a made-up patient at two visits</h1>",
        f"<p>Response: <b>{result.response.overall.value}</b> ({escape(result.response.reason)}). With the true "
        f"diameters it is {'the same' if same else f'<b>{result.true_response.overall.value}</b>'}. "
        f"{sum(right.values())} of {len(right)} lesions were followed right.</p>",
        "<p>Each lesion was segmented from one box on one slice. Millimetres are the longest axial diameter, of lymph "
        "nodes the short axis; what was drawn stands in brackets.</p>",
        _html(lesion_rows(result)),
        _html(response_rows(result)),
    ]
    body += [f"<p>Look at: {escape(text)}</p>" for text in result.cautions()]
    body += [f"<p>Failed: {escape(name)}: {escape(text)}</p>" for name, text in result.failed.items()]
    # The story first: both visits side by side.
    for title, file in sorted(pictures.items(), key=lambda item: item[1].name != "follow-up.png"):
        source = file.relative_to(result.output).as_posix()
        body.append(f'<h2>{escape(title)}</h2><img src="{escape(source)}" alt="{escape(title)}">')
    page = _PAGE.replace("BODY", "\n".join(body))
    write_text(result.output / "report.html", page)


def _found(visit: DemoVisit, key: int) -> Lesion | None:
    return next((lesion for lesion in visit.lesions if visit.truth[lesion.id].id == key), None)


def _html(rows: Rows) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    heads, body = rows
    return "<table>" + line(heads, "th") + "".join(line(row, "td") for row in body) + "</table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>medlsam demo --lesions</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .3rem .6rem; border-bottom: 1px solid #ddd;
text-align: left; vertical-align: top; } img { max-width: 100%; }
</style></head><body>
BODY
</body></html>
"""
