"""The CT scan among the DICOM files of a folder, opened."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medlsam.errors import VolumeError
from medlsam.io.dicom.header import DicomHeader, is_dicom, read_dicom_header
from medlsam.io.dicom.multiframe import open_multiframe
from medlsam.io.dicom.slices import open_slices
from medlsam.io.dicom.stacks import Stack, frames_of, places_along
from medlsam.io.dicom.survey import FoundSeries, find_series
from medlsam.io.folders import walk_folders
from medlsam.io.values import OpenedFile

_log = logging.getLogger(__name__)


@dataclass
class DicomFiles:
    """The DICOM files below a folder.

    Attributes:
        headers: of those that can be read.
        damaged: those that cannot.
    """

    headers: list[DicomHeader] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)

    def take(self, files: Iterable[Path]) -> int:
        """Read the headers of the DICOM files among some files; returns how many are of another kind."""
        others = 0
        for file in files:
            try:
                if not is_dicom(file):
                    others += 1
                    continue
                header = read_dicom_header(file)
            except OSError:
                header = None
            if header is None:
                self.damaged.append(file)
            else:
                self.headers.append(header)
        return others


def open_folder(folder: Path, path: Path | None = None) -> OpenedFile:
    """Open the CT scan of a folder and the folders below it; of several of one study, the one with most slices.

    What else lies there is named in a warning.

    Args:
        folder: where the files are.
        path: what messages call it; the folder where None.

    Raises:
        VolumeError: there is no CT series, there are several patients or studies, or the slices do not make one
            regular volume.
    """
    path = path or folder
    found = DicomFiles()
    for _, files in walk_folders(folder, set()):
        found.take(files)
    series = find_series(found.headers)
    stack = _largest(series, path)
    if found.damaged:
        raise VolumeError(damaged_words(path, found.damaged))
    others = [other for one in series for other in one.stacks if other is not stack]
    for words in not_taken(series, others):
        _log.warning("%s: %s", path, words)
    return open_stack(stack, path)


def open_files(files: Sequence[Path], path: Path) -> OpenedFile:
    """Open one CT series from its own files, whatever else lies in their folder.

    Args:
        files: the slices in the order of their positions, or one file that holds a whole scan.
        path: where they lie, for messages.

    Raises:
        VolumeError: they cannot be read, or make no regular volume.
    """
    headers = []
    for file in files:
        header = read_dicom_header(file)
        if header is None:
            raise VolumeError(damaged_words(path, [file]))
        headers.append(header)
    return open_stack(Stack("", tuple(headers)), path)


def open_stack(stack: Stack, path: Path) -> OpenedFile:
    """Open a stack of slices.

    Raises:
        VolumeError: see ``open_slices`` and ``open_multiframe``.
    """
    for note in stack.notes:
        _log.warning("%s: %s", path, note)
    headers = stack.headers
    if frames_of(headers[0]) > 1:
        if stack.fault:
            raise VolumeError(f"{path}: {stack.words}; give each file by itself")
        return open_multiframe(headers[0], path)
    places = places_along(headers) if stack.fault else None
    if places is not None:
        headers = tuple(headers[n] for n in np.argsort(places, kind="stable"))
    return open_slices(headers, path)


def study_of(stack: Stack) -> tuple[str, str]:
    """Patient and study of a stack, as its first slice says."""
    return stack.headers[0].patient_id, stack.headers[0].study


def not_taken(series: Sequence[FoundSeries], stacks: Sequence[Stack]) -> list[str]:
    """What lies beside the scan that was taken, in words: other series, and objects that are no slices."""
    words = [f"left out: {other.words} ({other.path.name})" for one in series for other in one.others]
    for stack in stacks:
        header = stack.headers[0]
        number, about = header.series_number, header.series_description
        told = ", ".join(part for part in (f"series {number}" if number else "", about) if part)
        words.append(
            f"left out: another CT series of {stack.slices} slices ({told or stack.name}, {header.path.name}); "
            "give it in a folder of its own to use it"
        )
    return words


def damaged_words(path: Path, damaged: Sequence[Path]) -> str:
    """The message for DICOM files whose headers cannot be read."""
    return (
        f"{path}: {len(damaged)} DICOM files are truncated or damaged, the first is {damaged[0].name}; "
        "copy the series again"
    )


def _largest(series: Sequence[FoundSeries], path: Path) -> Stack:
    stacks = [stack for one in series for stack in one.stacks]
    studies = {study_of(stack) for stack in stacks if stack.fault != "too small"}
    if len(studies) > 1:
        patients = {patient for patient, _ in studies}
        raise VolumeError(
            f"{path}: holds CT of {len(studies)} studies of {len(patients)} patients; give one of them, or all as "
            "scans of a folder"
        )
    if stacks:
        return max(stacks, key=lambda stack: stack.slices)
    others = [other for one in series for other in one.others]
    if not others:
        raise VolumeError(
            f"{path}: no readable DICOM series in this folder; give the folder that holds the slices"
        )
    found = ", ".join(sorted({other.words.partition(" x ")[2] for other in others}))
    raise VolumeError(
        f"{path}: no CT series in this folder, but {found}; give the folder that holds the slices"
    )
