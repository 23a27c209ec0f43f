"""The series that DICOM files belong to, wherever below one folder they lie."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlsam.io.dicom.header import DicomHeader
from medlsam.io.dicom.stacks import OtherObjects, Stack, sort_slices


@dataclass(frozen=True)
class FoundSeries:
    """What the files of one series number are.

    Attributes:
        folder: the deepest one that holds all of its slices.
        stacks: of CT slices, also those with a fault.
        others: what is no CT slice.
    """

    folder: Path
    stacks: tuple[Stack, ...]
    others: tuple[OtherObjects, ...]


def find_series(headers: Iterable[DicomHeader]) -> list[FoundSeries]:
    """Put DICOM files together by patient, study and series, also where a series lies in several folders.

    Parts that do not make one stack together are read folder by folder where each of them is one: not every archive
    numbers its series anew.

    Args:
        headers: of all files below one folder.

    Returns:
        The series, in the order of their folders and numbers.
    """
    groups: dict[tuple[str, ...], list[DicomHeader]] = defaultdict(list)
    for header in headers:
        known = (header.patient_id, header.study, header.series)
        groups[known if header.series else (str(header.path.parent),)].append(header)
    found = [series for group in groups.values() for series in _joined(group)]
    return sorted(found, key=_order)


def _joined(headers: Sequence[DicomHeader]) -> list[FoundSeries]:
    together = _sorted(headers)
    folders = defaultdict(list)
    for header in headers:
        folders[header.path.parent].append(header)
    if len(folders) == 1 or not any(stack.fault for stack in together.stacks):
        return [together]
    apart = [_sorted(part) for part in folders.values()]
    if any(stack.fault for part in apart for stack in part.stacks):
        return [together]
    words = (
        f"{len(folders)} folders hold slices of one series that do not fit together; each was read by itself"
    )
    return [replace(part, stacks=tuple(_noted(stack, words) for stack in part.stacks)) for part in apart]


def _sorted(headers: Sequence[DicomHeader]) -> FoundSeries:
    stacks, others = sort_slices(headers)
    paths = [file for stack in stacks for file in stack.files] or [header.path for header in headers]
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    if len({path.parent for path in paths}) > 1:
        count = len({path.parent for path in paths})
        stacks = [_noted(stack, f"the series lies in {count} folders; read together") for stack in stacks]
    return FoundSeries(folder, tuple(stacks), tuple(others))


def _order(series: FoundSeries) -> tuple[Path, list[str]]:
    names = [stack.name for stack in series.stacks] + [other.name for other in series.others]
    return series.folder, names


def _noted(stack: Stack, words: str) -> Stack:
    return replace(stack, notes=(*stack.notes, words))
