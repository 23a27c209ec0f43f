"""Which template scans a folder means, and what their labels are called."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medlsam.errors import TemplateError, UsageError
from medlsam.io.case_folders import check_channels, one_image
from medlsam.io.cases import Case, check_unique
from medlsam.io.checks import check_labels
from medlsam.io.folders import IMAGE_SUFFIXES, case_name, is_scan, known_kinds, visible
from medlsam.io.label_names import read_label_names
from medlsam.io.labels import read_label_map
from medlsam.io.slicer_markups import read_markups
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume.volume import LabelMap

_log = logging.getLogger(__name__)
POINTS_FILE = "extreme_points.mrk.json"
#: Part of an nnU-Net dataset.
Split = Literal["Tr", "Ts"]


@dataclass(frozen=True)
class TemplateCase:
    """One template scan with what is known of it: a label map, six extreme points per structure, or both.

    ``names`` are (value, organ) pairs of this case's own label map; ``read_template_labels`` turns them into
    the values that all cases share.
    """

    name: str
    image: Path
    labels: Path | None = None
    points: Path | None = None
    names: tuple[tuple[int, str], ...] = ()


def find_templates(path: Path | str, split: Split = "Tr") -> tuple[list[TemplateCase], dict[int, str]]:
    """The template scans of a folder and the organs that their values mean.

    Args:
        path: an nnU-Net dataset (``imagesTr``, ``labelsTr``, ``dataset.json``), or pairs ``<case>/image.*``
            with ``<case>/labels.*`` or ``<case>/extreme_points.mrk.json``, and ``labels.json`` beside the
            cases (or one in each case folder).
        split: of an nnU-Net dataset: ``Tr`` to train on, or ``Ts`` to test on. Pairs have no such parts.

    Returns:
        The cases sorted by name, and value to organ. Cases whose own ``labels.json`` numbers the organs
        otherwise keep their numbers in ``TemplateCase.names``; the common table then counts from 1 by name.
        A structure of which fewer than six extreme points are placed yet is left out of its scan with a warning, and
        so is a scan that has no other.

    Raises:
        TemplateError: there is no such folder, an image, label map or ``labels.json`` is missing or wrong.
    """
    path = Path(path)
    if not path.is_dir():
        raise TemplateError(f"{path}: there is no such templates folder")
    try:
        if (path / "dataset.json").is_file():
            names = read_label_names(path / "dataset.json")
            cases = _nnunet_cases(path, names, split)
        else:
            cases, names = _pair_cases(path)
    except UsageError as error:
        raise TemplateError(str(error)) from error
    return sorted(cases, key=lambda case: case.name), names


def _nnunet_cases(path: Path, names: dict[int, str], split: Split) -> list[TemplateCase]:
    images_dir, labels_dir = path / f"images{split}", path / f"labels{split}"
    for part in (images_dir.name, labels_dir.name):
        if not (path / part).is_dir():
            raise TemplateError(f"{path}: dataset.json is here, but no folder {part}")
    check_channels(images_dir)
    found = [Case(case_name(file), file) for file in visible(images_dir) if is_scan(file)]
    check_unique(found)
    images = {case.name: case.path for case in found}
    labels = {case_name(f): f for f in visible(labels_dir) if suffix_of(f) in IMAGE_SUFFIXES}
    if not images:
        raise TemplateError(f"{images_dir}: no scan in this folder; known are {known_kinds()}")
    for name, image in images.items():
        if name not in labels:
            raise TemplateError(f"{image}: no label map {name}.* in {labels_dir}; add it or remove the scan")
    table = tuple(sorted(names.items()))
    return [TemplateCase(name, image, labels[name], None, table) for name, image in images.items()]


def _pair_cases(path: Path) -> tuple[list[TemplateCase], dict[int, str]]:
    folders = [path] if one_image(path, "image") else [f for f in visible(path) if f.is_dir()]
    common = read_label_names(path / "labels.json") if (path / "labels.json").is_file() else None
    cases = []
    drawn: dict[str, set[str]] = {}
    unfinished: list[str] = []
    for folder in folders:
        image, labels = one_image(folder, "image"), one_image(folder, "labels")
        points = folder / POINTS_FILE if (folder / POINTS_FILE).is_file() else None
        if labels is None and points is None:
            continue  # a scan without labels is no template, and does not disturb those beside it
        if image is None:
            raise TemplateError(f"{folder}: labels, but no image.* beside them")
        names = common or {}
        if (folder / "labels.json").is_file():
            names = read_label_names(folder / "labels.json")
        if labels is not None and not names:
            raise TemplateError(
                f"{labels}: no labels.json beside it or in {path}; write one that names the values, "
                'such as {"liver": 1}'
            )
        if points is not None:
            drawn[folder.name] = set(read_markups(points, on_unfinished=unfinished.append))
            if labels is None and not drawn[folder.name]:
                continue
        cases.append(TemplateCase(folder.name, image, labels, points, tuple(sorted(names.items()))))
    if unfinished and not cases:
        raise TemplateError(f"{path}: no template is finished yet: {'; '.join(unfinished[:5])}")
    for words in unfinished:
        _log.warning("%s; left out", words)
    if not cases:
        raise TemplateError(
            f"{path}: no templates in this folder; expected imagesTr, labelsTr and dataset.json, "
            f"or <case>/image.* with <case>/labels.* or <case>/{POINTS_FILE}"
        )
    return cases, _common_names(cases, common, drawn)


def _common_names(
    cases: Sequence[TemplateCase], common: dict[int, str] | None, points: Mapping[str, set[str]]
) -> dict[int, str]:
    """One table for all cases: their own where they agree, else the organs counted from 1 by name."""
    structures = {name for case in cases for _, name in case.names}
    for case in cases:
        drawn = points.get(case.name, set())
        missing = sorted(drawn - structures)
        if common is not None and missing:
            raise TemplateError(f"{case.points}: {', '.join(missing)} is not in labels.json; add it there")
        structures |= drawn
    merged = {pair for case in cases for pair in case.names} | set((common or {}).items())
    if len({value for value, _ in merged}) == len({name for _, name in merged}) == len(merged):
        table = dict(sorted(merged))
        extra = sorted(structures - set(table.values()))
        return table | dict(enumerate(extra, start=max(table, default=0) + 1))
    return dict(enumerate(sorted(structures), start=1))


def read_template_labels(case: TemplateCase, names: Mapping[int, str]) -> LabelMap:
    """A template's label map in the values of the common table.

    Args:
        case: a template with a label map.
        names: value to organ, as ``find_templates`` returns it.

    Returns:
        Labels, (Z, Y, X): values of ``names``.

    Raises:
        VolumeError: the file cannot be read, or no voxel is labelled.
        TemplateError: the case has no label map, or a value in it has no name.
    """
    if case.labels is None:
        raise TemplateError(f"{case.image}: the template has extreme points but no label map")
    labels = read_label_map(case.labels)
    own = dict(case.names)
    check_labels(labels, own)
    if all(names.get(value) == name for value, name in own.items()):
        return labels
    common = {name: value for value, name in names.items()}
    table = np.zeros(max(own) + 1, np.uint16)
    for value, name in own.items():
        table[value] = common[name]
    return LabelMap(table[labels.array], labels.grid, labels.source)
