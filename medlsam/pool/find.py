"""What may be a scan below some folders: image files, zips, and DICOM slices by series. Headers only."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.io.dicom.read import DicomFiles
from medlsam.io.dicom.stacks import Stack, frames_of
from medlsam.io.dicom.survey import FoundSeries, find_series
from medlsam.io.folders import case_name, is_label_map, is_scan, walk_folders
from medlsam.pool.manifest import LeftOut, Reason


@dataclass(frozen=True)
class Candidate:
    """What may become a scan of the pool.

    Attributes:
        case: its name: of the file, or of the folder of the series.
        source: where it lies, beginning with the name of the folder that was given; a series that shares its folder has
            ``#`` and its number there.
        root: the folder that was given.
        files: the image file, or the slices in order of their places.
        study: of a DICOM series, 16 characters that stand for the study and its frame of reference: scans with the
            same lie in one system of coordinates. Empty where the headers do not say, None for image files.
    """

    case: str
    source: str
    root: Path
    files: tuple[Path, ...]
    study: str | None = None


@dataclass
class Found:
    """What lies below the folders that were given.

    Attributes:
        candidates: in the order of their sources.
        left_out: what needs no reading to be left out.
        others: number of files that are no images at all.
    """

    candidates: list[Candidate] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    others: int = 0


def find_scans(roots: Sequence[Path | str], without: Path | None = None) -> Found:
    """Look for scans below some folders.

    Args:
        roots: folders, or single image files.
        without: a folder that is not looked into (the pool itself).

    Returns:
        The candidates, and what is left out by its header or name.

    Raises:
        UsageError: a path does not exist.
    """
    found = Found()
    seen = set() if without is None else {os.path.realpath(without)}
    # Folders first: a file that lies in one of them is not found twice.
    for root in sorted((Path(os.path.abspath(root)) for root in roots), key=Path.is_file):
        if not root.exists():
            raise UsageError(f"{root}: there is no such file or folder")
        dicom = DicomFiles()
        for _, files in walk_folders(root, seen):
            _look_through(files, root, found, dicom)
        _take_series(dicom, root, found)
    found.candidates.sort(key=lambda candidate: candidate.source)
    found.left_out.sort()
    return found


def _look_through(files: list[Path], root: Path, found: Found, dicom: DicomFiles) -> None:
    """Take the image files of a folder; its DICOM files are put together later."""
    for file in files:
        if is_scan(file):
            _image_file(file, root, found)
    found.others += dicom.take(file for file in files if not is_scan(file))


def _take_series(dicom: DicomFiles, root: Path, found: Found) -> None:
    words = "the DICOM header is cut off or damaged; copy the file again"
    found.left_out += [LeftOut(source_of(file, root), Reason.UNREADABLE, words) for file in dicom.damaged]
    by_folder: dict[Path, list[FoundSeries]] = defaultdict(list)
    for series in find_series(dicom.headers):
        by_folder[series.folder].append(series)
    for folder, series_here in by_folder.items():
        stacks = [stack for series in series_here for stack in series.stacks]
        others = [other for series in series_here for other in series.others]
        place = source_of(folder, root)
        shared = len(stacks) + len(others) > 1
        for stack in stacks:
            source = f"{place}#{stack.name}" if shared else place
            if stack.fault:
                found.left_out.append(LeftOut(source, Reason(stack.fault), stack.words))
            else:
                found.candidates.append(
                    Candidate(case_name(folder), source, root, stack.files, _study(stack))
                )
        for other in others:
            source = f"{place}#{other.name}" if shared else place
            found.left_out.append(LeftOut(source, Reason(other.kind), other.words))


def _study(stack: Stack) -> str:
    header = stack.headers[0]
    # The places of an enhanced file's frames are inside, so nothing says yet where it lies.
    if not header.study or not header.frame_of_reference or frames_of(header) > 1:
        return ""
    return hashlib.sha256(f"{header.study} {header.frame_of_reference}".encode()).hexdigest()[:16]


def _image_file(file: Path, root: Path, found: Found) -> None:
    source = source_of(file, root)
    if is_label_map(file, root):
        found.left_out.append(LeftOut(source, Reason.LABELS, "a label map by its name or folder"))
    else:
        found.candidates.append(Candidate(case_name(file), source, root, (file,)))


def source_of(path: Path, root: Path) -> str:
    """Where something lies, with the name of the root before it and slashes between."""
    return root.name if path == root else f"{root.name}/{path.relative_to(root).as_posix()}"
