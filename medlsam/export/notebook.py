"""How results show themselves as the last line of a notebook cell: a table, and a picture below it."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from medlsam.errors import UsageError
from medlsam.results import Localization, Segmentation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def localization_html(localization: Localization) -> str:
    """Status, confidence and box of each structure, and the boxes on the scan where it was kept."""
    rows = []
    for organ in localization.organs.values():
        size = "–" if organ.box is None else " × ".join(f"{edge:.0f}" for edge in organ.box.size)
        error = "–" if organ.expected_error_mm is None else f"± {organ.expected_error_mm:.1f}"
        rows.append((organ.name, _words(organ.status), f"{organ.confidence:.2f}", size, error))
    heads = ("structure", "status", "confidence", "box x × y × z, mm", "expected error, mm")
    table = _table(localization.case, heads, rows)
    if localization.image is None:
        return table
    from medlsam.export.figures import draw_localization

    return table + _picture(draw_localization(localization, localization.image))


def segmentation_html(segmentation: Segmentation) -> str:
    """Status, confidence and volume of each structure, and a row of slices through each."""
    array, voxel_ml = segmentation.labels.array, segmentation.labels.grid.voxel_ml
    rows = []
    for value, name in sorted(segmentation.names.items()):
        organ = segmentation.localization.organs.get(name)
        status, confidence = (_words(organ.status), f"{organ.confidence:.2f}") if organ else ("–", "–")
        rows.append((name, status, confidence, f"{(array == value).sum() * voxel_ml:.1f}"))
    table = _table(segmentation.case, ("structure", "status", "confidence", "volume, ml"), rows)
    if segmentation.image is None:
        return table
    from medlsam.export.figures import draw_segmentation

    try:
        return table + _picture(draw_segmentation(segmentation))
    except UsageError:  # nothing was found, so there is nothing to draw
        return table


def _words(status: str) -> str:
    return status.replace("_", " ")


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><caption>{html.escape(title)}</caption>{line(heads, 'th')}{body}</table>"


def _picture(figure: Figure) -> str:
    from medlsam.export.figures import png

    data = base64.b64encode(png(figure)).decode("ascii")
    return f'<img alt="what was found, drawn on the scan" src="data:image/png;base64,{data}">'
