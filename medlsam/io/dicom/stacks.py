"""The DICOM files of one series: what of it is a stack of CT slices, and what is something else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medlsam.io.dicom.header import CT_CLASSES, DicomHeader

#: Fewer slices are a scout view or a sample, not a scan.
LEAST_SLICES = 4
_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_REPORT = "1.2.840.10008.5.1.4.1.1.88"
_NO_PICTURES = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "REG", "DOC")
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
class Stack:
    """CT slices of one series, size and direction; or one file that holds many.

    Attributes:
        name: the end of the series' number, and of the phase where it was split.
        headers: of the slices, along their normal where their places are known.
        fault: kind of what makes them no regular stack (a word of the pool's reasons); empty where they are one.
        words: what was found, where there is a fault.
        notes: what a reader should know.
    """

    name: str
    headers: tuple[DicomHeader, ...]
    fault: str = ""
    words: str = ""
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The slices' files in the order of ``headers``."""
        return tuple(header.path for header in self.headers)

    @property
    def slices(self) -> int:
        """How many slices there are, frames of one file included."""
        return sum(max(1, frames_of(header)) for header in self.headers)


@dataclass(frozen=True)
class OtherObjects:
    """Files of a series that are no CT slices.

    Attributes:
        name: the end of the series' number.
        kind: a word of the pool's reasons.
        words: how many of what.
        path: the first of them.
    """

    name: str
    kind: str
    words: str
    path: Path


def sort_slices(headers: Sequence[DicomHeader]) -> tuple[list[Stack], list[OtherObjects]]:
    """Tell the stacks of CT slices of one series from everything else in it.

    Args:
        headers: all DICOM files of one series.

    Returns:
        The stacks (several where a series holds several phases), also those with a fault; and what else there is.
    """
    name = headers[0].series[-12:] or "no series"
    slices: list[DicomHeader] = []
    others: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for header in headers:
        other = _other_than_ct(header)
        if other is None:
            slices.append(header)
        else:
            others[other].append(header.path)
    left_out = [
        OtherObjects(name, kind, f"{len(paths)} x {what}", paths[0])
        for (kind, what), paths in sorted(others.items())
    ]
    kept = _without_copies(slices)
    notes = _notes(kept, len(slices) - len(kept))
    stacks = [s for plane in _by(kept, _plane) for s in _stacked(plane, name)]
    if sum(frames_of(stack.headers[0]) > 1 for stack in stacks) > 1:
        words = "several files of one series hold many slices each (a concatenation, or phases)"
        stacks = [replace(stack, fault="slices twice", words=words) for stack in stacks]
    return [replace(stack, notes=(*notes, *stack.notes)) for stack in stacks], left_out


def frames_of(header: DicomHeader) -> int:
    """How many frames a file says that it holds; 0 where it does not say."""
    return int(header.frames) if header.frames.isdecimal() else 0


def places_along(stack: Sequence[DicomHeader]) -> NDArray[np.float64] | None:
    """(N,) mm: places of the slices along their normal; None where a slice does not say."""
    orientation = stack[0].numbers("orientation", 6)
    positions = [header.numbers("position", 3) for header in stack]
    if orientation is None or any(position is None for position in positions):
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(np.asarray(positions, dtype=float) @ normal)


def twice(along: NDArray[np.float64]) -> int:
    """How many slices lie at the place of another, from their places (mm) along the normal."""
    return int((np.diff(np.sort(along)) < 0.01).sum())


def worst_gap(along: NDArray[np.float64]) -> tuple[int, float, float] | None:
    """The step between neighbouring slices that is furthest from the usual one; None where all are even.

    Args:
        along: (N,) places of the slices along their normal, mm, in order.

    Returns:
        The slice before it, the step and the usual step, mm.
    """
    gaps = np.abs(np.diff(along))
    usual = float(np.median(gaps))
    if gaps.max() - gaps.min() <= max(0.1 * usual, 0.05):
        return None
    worst = int(np.abs(gaps - usual).argmax())
    return worst, float(gaps[worst]), usual


def _other_than_ct(header: DicomHeader) -> tuple[str, str] | None:
    sop_class, modality = header.sop_class, header.modality
    if sop_class.startswith(_REPORT) or modality == "SR":
        return "report", "structured report"
    if sop_class.startswith(_CAPTURE) and (header.numbers("position", 3) is None or modality != "CT"):
        return "secondary capture", f"secondary capture (modality {modality or 'not given'})"
    if not header.rows or modality in _NO_PICTURES:
        return "no image", f"object of modality {modality or 'not given'}"
    if modality != "CT" and (modality or sop_class not in CT_CLASSES):
        return "not CT", f"image of modality {modality or 'not given'}"
    if {"LOCALIZER", "SCOUT"} & set(header.image_type.upper().split("\\")):
        return "localizer", "localizer image"
    if header.samples not in ("", "1"):
        return "secondary capture", "colour picture"
    return None


def _without_copies(slices: Sequence[DicomHeader]) -> list[DicomHeader]:
    """The slices without those that are copies of an earlier file: same number, same place, same pixels.

    Some anonymizers give all slices one number, and some archives give other patients' slices the same ones.
    """
    first: dict[tuple[str, str, str], DicomHeader] = {}
    kept = []
    for header in slices:
        key = (header.sop_instance or str(header.path), header.position, header.orientation)
        before = first.setdefault(key, header)
        if before is header or _pixels(before.path) != _pixels(header.path):
            kept.append(header)
    return kept


def _notes(slices: Sequence[DicomHeader], copies: int) -> tuple[str, ...]:
    notes = [f"{copies} copies of slices left out"] if copies else []
    if any(not header.modality for header in slices):
        notes.append("the files do not say their modality; read as CT, as their SOP class says")
    return tuple(notes)


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


def _stacked(plane: list[DicomHeader], name: str) -> list[Stack]:
    """The stacks that slices of one size and direction make: one, or one for each phase."""
    if frames_of(plane[0]) > 1:
        # Enhanced CT: a file is a scan, whose places are inside.
        return [Stack(f"{name}.{n}", (header,)) for n, header in enumerate(plane)]
    stack = Stack(name, tuple(plane))
    if len(plane) < LEAST_SLICES:
        words = f"{len(plane)} slices of {plane[0].columns} x {plane[0].rows} voxels"
        return [replace(stack, fault="too small", words=words)]
    places = places_along(plane)
    if places is None:
        words = f"{len(plane)} slices without image position or direction"
        return [replace(stack, fault="no positions", words=words)]
    if count := twice(places):
        phases = _phases(plane)
        if phases:
            return [s for n, phase in enumerate(phases, start=1) for s in _stacked(phase, f"{name}.{n}")]
        single = _without_equal_pixels(plane, places)
        if len(single) < len(plane) and len(single) >= LEAST_SLICES:
            notes = (f"{len(plane) - len(single)} slices are there twice, voxel by voxel; one of them kept",)
            return [replace(s, notes=(*notes, *s.notes)) for s in _stacked(single, name)]
        words = f"{count} of {len(plane)} slices lie at the place of another"
        return [replace(stack, fault="slices twice", words=words)]
    order = np.argsort(places)
    stack, places = Stack(name, tuple(plane[n] for n in order)), places[order]
    if (gap := worst_gap(places)) is not None:
        slice_before, step, usual = gap
        words = f"usually {usual:g} mm, {step:g} mm after slice {slice_before + 1} of {len(plane)}"
        return [replace(stack, fault="gap", words=words)]
    return [stack]


def _phases(stack: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """The slices by the first field that leaves no two at one place; empty where none does."""
    for field in _PHASE_FIELDS:
        groups = _by(stack, attrgetter(field))
        if not 1 < len(groups) <= _MOST_PHASES or min(map(len, groups)) < LEAST_SLICES:
            continue
        if all((places := places_along(group)) is not None and not twice(places) for group in groups):
            return sorted(groups, key=lambda group: getattr(group[0], field))
    return []


def _without_equal_pixels(stack: Sequence[DicomHeader], places: NDArray[np.float64]) -> list[DicomHeader]:
    """The slices without those whose stored pixels equal those of an earlier one at the same place."""
    # Only slices that share their place are opened.
    crowd = Counter(np.round(places, 2).tolist())
    seen: set[tuple[float, bytes]] = set()
    kept = []
    for header, place in zip(stack, np.round(places, 2).tolist(), strict=True):
        if crowd[place] > 1:
            key = (place, _pixels(header.path))
            if key[1] and key in seen:
                continue
            seen.add(key)
        kept.append(header)
    return kept


def _pixels(path: Path) -> bytes:
    """What tells the stored pixels of a file from others; empty where they cannot be read."""
    import hashlib

    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(path, force=True)  # also without the preamble
        stored = bytes(dataset.PixelData)
    except (OSError, AttributeError, ValueError, InvalidDicomError):
        return b""
    scale = f"{dataset.get('RescaleSlope')} {dataset.get('RescaleIntercept')}".encode()
    return hashlib.sha256(scale + stored).digest()
