"""How results show themselves as the last line of a notebook cell: a table, and a picture below it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from jinja2 import Template

from medlsam.errors import UsageError
from medlsam.results import Localization, LocatedStructure, Segmentation

_CELL: Template = Template(
    """<table><caption>{{ title }}</caption>
<tr>{% for head in heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for value in row %}<td>{{ value }}</td>{% endfor %}</tr>{% endfor %}</table>
{% if picture %}<img alt="what was found, drawn on the scan" src="{{ picture }}">{% endif %}""",
    autoescape=True,
)


def localization_html(localization: Localization) -> str:
    """Status, confidence and box of each structure, and the boxes on the scan where it was kept."""
    rows = []
    for structure in localization.structures.values():
        size = "–" if structure.box is None else " × ".join(f"{edge:.0f}" for edge in structure.box.size)
        error = "–" if structure.expected_error_mm is None else f"± {structure.expected_error_mm:.1f}"
        rows.append((structure.name, *_status(structure), size, error))
    heads = ("structure", "status", "confidence", "box x × y × z, mm", "expected error, mm")
    picture = None
    if localization.image is not None:
        from medlsam.export.figures import data_uri, draw_localization

        picture = data_uri(draw_localization(localization))
    return _CELL.render(title=localization.case, heads=heads, rows=rows, picture=picture)


def segmentation_html(segmentation: Segmentation) -> str:
    """Status, confidence and volume of each structure, and a row of slices through each."""
    array, voxel_ml = segmentation.labels.array, segmentation.labels.grid.voxel_ml
    rows = []
    for value, name in sorted(segmentation.names.items()):
        structure = segmentation.localization.structures.get(name)
        rows.append((name, *_status(structure), f"{(array == value).sum() * voxel_ml:.1f}"))
    heads = ("structure", "status", "confidence", "volume, ml")
    return _CELL.render(title=segmentation.case, heads=heads, rows=rows, picture=_picture(segmentation))


def session_html(result: Segmentation, edits: Mapping[str, tuple[int, int, str, float]]) -> str:
    """Edits, clicks and volume of each structure, and a row of slices through each.

    Args:
        result: the session's masks as they stand.
        edits: structure to edits, clicks, what a person said of it, and volume in ml.
    """
    rows = [(name, *own[:3], f"{own[3]:.1f}") for name, own in edits.items()]
    heads = ("structure", "edits", "clicks", "said", "volume, ml")
    return _CELL.render(title=f"session of {result.case}", heads=heads, rows=rows, picture=_picture(result))


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
