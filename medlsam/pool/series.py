"""The DICOM files of one series: what of it is one regular stack of CT slices, and what is something else."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.io.dicom.header import DicomHeader
from medlsam.io.dicom.slices import twice, worst_gap
from medlsam.pool.manifest import Reason

#: Fewer slices are a scout view or a sample, not a scan.
LEAST_SLICES = 4
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_REPORT = "1.2.840.10008.5.1.4.1.1.88"
#: What tells the phases of one series apart, tried in this order.
_PHASE_FIELDS = (
    "acquisition_number",
    "temporal_position",
    "contrast_agent",
    "image_type",
    "kernel",
    "acquisition_time",
)
_MOST_PHASES = 20


@dataclass(frozen=True)
class Series:
    """A regular stack of CT slices.

    Attributes:
        name: the end of the series' number, and of the phase where it was split.
        files: the slices along their normal.
        study: 16 characters that stand for the study and its frame of reference: scans with the same lie in one
            system of coordinates. Empty where the headers do not say.
    """

    name: str
    files: tuple[Path, ...]
    study: str


#: Why a part of a series is left out, what was found, and its name.
_Left = tuple[Reason, str, str]


def sort_slices(headers: Sequence[DicomHeader]) -> tuple[list[Series], list[_Left]]:
    """Tell the stacks of CT slices of one series from everything else in it.

    Args:
        headers: all DICOM files of one series in one folder.

    Returns:
        The stacks (several where a series holds several phases), and what is left out.
    """
    name = headers[0].series[-12:] or "no series"
    slices, left = [], Counter[tuple[Reason, str]]()
    for header in headers:
        other = _other_than_ct(header)
        if other is None:
            slices.append(header)
        else:
            left[other] += 1
    found: list[Series] = []
    left_out = [(reason, f"{count} x {what}", name) for (reason, what), count in sorted(left.items())]
    # A copy of a file in the same folder is no slice more.
    single = list({header.sop_instance or str(header.path): header for header in slices}.values())
    for stack in _by(single, _plane):
        series, fault = _stack(stack, name)
        found += series
        left_out += fault
    return found, left_out


def _other_than_ct(header: DicomHeader) -> tuple[Reason, str] | None:
    kind, modality = header.sop_class, header.modality
    if kind.startswith(_REPORT) or modality == "SR":
        return Reason.REPORT, "structured report"
    if kind.startswith(_CAPTURE) and (header.numbers("position", 3) is None or modality != "CT"):
        return Reason.SECONDARY_CAPTURE, f"secondary capture (modality {modality or 'not given'})"
    if not header.rows or modality in ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "REG"):
        return Reason.NO_IMAGE, f"object of modality {modality or 'not given'}"
    if modality != "CT":
        return Reason.MODALITY, f"image of modality {modality or 'not given'}"
    if {"LOCALIZER", "SCOUT"} & set(header.image_type.upper().split("\\")):
        return Reason.LOCALIZER, "localizer image"
    return None


def _by(headers: Iterable[DicomHeader], key: Callable[[DicomHeader], object]) -> list[list[DicomHeader]]:
    groups: dict[object, list[DicomHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return list(groups.values())


def _plane(header: DicomHeader) -> object:
    """Slices that may lie on each other have the same size and direction."""
    orientation = header.numbers("orientation", 6)
    turned = None if orientation is None else tuple(round(v, 2) + 0.0 for v in orientation)
    return header.rows, header.columns, turned, header.frames


def _stack(stack: list[DicomHeader], name: str) -> tuple[list[Series], list[_Left]]:
    """The regular stacks that slices of one plane make: one, or one for each phase."""
    if stack[0].frames.isdecimal() and int(stack[0].frames) > 1:
        # Enhanced CT: a file is a scan, whose places are inside.
        return [Series(f"{name}.{n}", (header.path,), "") for n, header in enumerate(stack)], []
    if len(stack) < LEAST_SLICES:
        words = f"{len(stack)} slices of {stack[0].columns} x {stack[0].rows} voxels"
        return [], [(Reason.SMALL, words, name)]
    places = _along(stack)
    if places is None:
        return [], [(Reason.NO_POSITION, f"{len(stack)} slices without image position or direction", name)]
    if count := twice(places):
        phases = _phases(stack)
        if not phases:
            words = f"{count} of {len(stack)} slices lie at the place of another"
            return [], [(Reason.OVERLAP, words, name)]
        parts = [_stack(phase, f"{name}.{n}") for n, phase in enumerate(phases, start=1)]
        return [s for series, _ in parts for s in series], [f for _, fault in parts for f in fault]
    order = np.argsort(places)
    places = places[order]
    if (gap := worst_gap(places)) is not None:
        slice_before, step, usual = gap
        words = f"usually {usual:g} mm, {step:g} mm after slice {slice_before + 1} of {len(stack)}"
        return [], [(Reason.GAP, words, name)]
    files = tuple(stack[n].path for n in order)
    return [Series(name, files, _study(stack[0]))], []


def _along(stack: Sequence[DicomHeader]) -> NDArray[np.float64] | None:
    """(N,) mm: places of the slices along their normal; None where a slice does not say."""
    orientation = stack[0].numbers("orientation", 6)
    positions = [header.numbers("position", 3) for header in stack]
    if orientation is None or any(position is None for position in positions):
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(np.asarray(positions, dtype=float) @ normal)


def _phases(stack: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """The slices by the first field that leaves no two at one place; empty where none does."""
    for field in _PHASE_FIELDS:
        groups = _by(stack, attrgetter(field))
        if not 1 < len(groups) <= _MOST_PHASES or min(map(len, groups)) < LEAST_SLICES:
            continue
        if all((places := _along(group)) is not None and not twice(places) for group in groups):
            return sorted(groups, key=lambda group: getattr(group[0], field))
    return []


def _study(header: DicomHeader) -> str:
    if not header.study or not header.frame_of_reference:
        return ""
    return hashlib.sha256(f"{header.study} {header.frame_of_reference}".encode()).hexdigest()[:16]
