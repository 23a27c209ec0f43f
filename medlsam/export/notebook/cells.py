"""How results show themselves as the last line of a notebook cell: a table, and a picture below it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from jinja2 import Template

from medlsam.errors import UsageError
from medlsam.results import Localization, LocatedStructure, Segmentation

#: Structure to edits, clicks, what a person said of it, and volume in ml: a session's rows.
Edits = Mapping[str, tuple[int, int, str, float]]

_CELL: Template = Template(
    """<table><caption>{{ title }}</caption>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for value in row %}<td>{% if loop.first and value in colours -%}
<span style="color:{{ colours[value] }}">&#9632;</span> {% endif %}{{ value }}</td>{% endfor %}</tr>{% endfor %}</table>
{% if picture %}<img alt="what was found, drawn on the scan" src="{{ picture }}">{% endif %}""",
    autoescape=True,
)


@dataclass(frozen=True)
class Table:
    """What a cell says of structures.

    Attributes:
        title: above it.
        heads: of the columns.
        rows: one for each structure; its name is the first value.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def html(self, colours: Mapping[str, str] | None = None, picture: str | None = None) -> str:
        """The table as HTML.

        Args:
            colours: structure to colour (``#rrggbb``), as a square before its name.
            picture: data URI of a picture below it.
        """
        return _CELL.render(
            title=self.title, heads=self.heads, rows=self.rows, colours=colours or {}, picture=picture
        )


def localization_table(localization: Localization) -> Table:
    """Status, confidence and box of each structure."""
    rows = []
    for structure in localization.structures.values():
        size = "–" if structure.box is None else " × ".join(f"{edge:.0f}" for edge in structure.box.size)
        error = "–" if structure.expected_error_mm is None else f"± {structure.expected_error_mm:.1f}"
        rows.append((structure.name, *_status(structure), size, error))
    heads = ("structure", "status", "confidence", "box x × y × z, mm", "expected error, mm")
    return Table(localization.case, heads, tuple(rows))


def segmentation_table(segmentation: Segmentation) -> Table:
    """Status, confidence and volume of each structure."""
    array, voxel_ml = segmentation.labels.array, segmentation.labels.grid.voxel_ml
    rows = []
    for value, name in sorted(segmentation.names.items()):
        structure = segmentation.localization.structures.get(name)
        rows.append((name, *_status(structure), f"{(array == value).sum() * voxel_ml:.1f}"))
    return Table(segmentation.case, ("structure", "status", "confidence", "volume, ml"), tuple(rows))


def session_table(case: str, edits: Edits) -> Table:
    """Edits, clicks and volume of each structure."""
    rows = [(name, *own[:3], f"{own[3]:.1f}") for name, own in edits.items()]
    heads = ("structure", "edits", "clicks", "said", "volume, ml")
    return Table(f"session of {case}", heads, tuple(rows))


def localization_html(localization: Localization) -> str:
    """The table, and the boxes on the scan where it was kept."""
    picture = None
    if localization.image is not None:
        from medlsam.export.figures import data_uri, draw_localization

        picture = data_uri(draw_localization(localization))
    return localization_table(localization).html(picture=picture)


def segmentation_html(segmentation: Segmentation) -> str:
    """The table, and a row of slices through each structure."""
    return segmentation_table(segmentation).html(picture=_picture(segmentation))


def session_html(result: Segmentation, edits: Edits) -> str:
    """The table of a session, and a row of slices through each structure.

    Args:
        result: the session's masks as they stand.
        edits: a row for each structure.
    """
    return session_table(result.case, edits).html(picture=_picture(result))


def _picture(segmentation: Segmentation) -> str | None:
    """Slices through the masks; None where there is no scan or nothing was found."""
    if segmentation.image is None:
        return None
    from medlsam.export.figures import data_uri, draw_segmentation

    with suppress(UsageError):  # nothing was found, so there is nothing to draw
        return data_uri(draw_segmentation(segmentation))
    return None


def _status(structure: LocatedStructure | None) -> tuple[str, str]:
    """Status and confidence in words."""
    return (structure.status.replace("_", " "), f"{structure.confidence:.2f}") if structure else ("–", "–")
