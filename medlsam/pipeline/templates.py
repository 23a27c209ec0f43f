"""Template scans with their labels, one after the other: the only labels on the way to a segmentation.

It is kept apart from the pipeline so that what segments a scan cannot even import what reads labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medlsam.errors import TemplateError, UsageError
from medlsam.io.checks import check_same_grid
from medlsam.io.label_names import read_case_list
from medlsam.io.labelled_scans import TemplateCase, find_templates, read_template_labels
from medlsam.io.read import read_image
from medlsam.io.slicer_markups import read_markups
from medlsam.localize.build_templates import Template, build_templates
from medlsam.localize.templates.template_set import TemplateSet
from medlsam.option_fields import near
from medlsam.pipeline.drawn_masks import drawing_segmenter, with_drawn_masks

if TYPE_CHECKING:
    from medlsam.pipeline.model import MedLSAM


def open_templates(
    model: MedLSAM,
    path: str | Path,
    organs: Iterable[str] | None,
    cases: Sequence[str] | str | Path | None,
    on_progress: Callable[[str], None] | None,
    adapt: bool,
) -> TemplateSet:
    """Read a template file, or make templates from a folder; see ``MedLSAM.templates``."""
    path = Path(path)
    if path.is_dir():
        found, names = choose_templates(path, cases)
        read, source = read_templates(found, names), path.resolve().name
        organs = None if organs is None else list(organs)
        segmenter = cache(lambda: drawing_segmenter(model))
        scans = (with_drawn_masks(template, segmenter, organs) for template in read)
        built = build_templates(
            model.localizer, scans, names, organs=organs, source=source, on_progress=on_progress
        )
        if not adapt:
            return built
        from medlsam.pipeline.adapt import adapt as adapted

        return adapted(model, path, built, cases, on_progress)
    if not path.exists():
        raise TemplateError(f"{path}: there is no such template file or templates folder")
    if cases is not None:
        raise UsageError(f"{path}: cases can be chosen from a templates folder only, not from a file")
    if adapt:
        raise UsageError(
            f"{path}: a file holds no scans to adapt to; build it again from its templates folder"
        )
    templates = TemplateSet.load(path)
    model.check(templates)
    return templates if organs is None else templates.select(organs)


def choose_templates(
    path: str | Path, cases: Sequence[str] | str | Path | None = None
) -> tuple[list[TemplateCase], dict[int, str]]:
    """The template scans of a folder, or the named ones among them, and what their label values mean.

    Args:
        path: a templates folder.
        cases: case names, or ``FILE.json`` or ``FILE.json:key`` that lists them; all where None.

    Raises:
        TemplateError: no templates there, or a case that is not among them.
        UsageError: the list of cases cannot be read.
    """
    found, names = find_templates(path)
    if cases is None:
        return found, names
    wanted = read_case_list(cases) if isinstance(cases, str | Path) else list(cases)
    known = {case.name: case for case in found}
    for name in wanted:
        if name not in known:
            raise TemplateError(
                f"{path}: there is no template {name!r}{near(name, known)}; it holds {', '.join(known)}"
            )
    if not wanted:
        raise TemplateError(f"{path}: the list of cases is empty, so there is no template")
    return [known[name] for name in dict.fromkeys(wanted)], names


def read_templates(cases: Sequence[TemplateCase], names: dict[int, str]) -> Iterator[Template]:
    """Read template scans one at a time, so that only one of them is in memory.

    Args:
        cases: from ``choose_templates``.
        names: value to structure, from ``choose_templates``.

    Raises:
        VolumeError: a file cannot be read, or is not what it should be.
        GeometryError: image and label map do not lie on the same grid.
        TemplateError: a label value without a name, or markups that are not extreme points.
    """
    for case in cases:
        image = read_image(case.image)
        labels = read_template_labels(case, names) if case.labels is not None else None
        if labels is not None:
            check_same_grid(image, labels)
        points = None
        if case.points is not None:
            # What is not finished was said when the scans were chosen.
            points = read_markups(case.points, on_unfinished=lambda words: None)
        yield Template(case.name, image, labels, points)
