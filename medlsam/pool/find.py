"""What may be a scan below some folders: image files, zips, and DICOM slices by series. Headers only."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.io.cases import case_name, is_scan
from medlsam.io.dicom.header import DicomHeader, read_dicom_header
from medlsam.io.dicom.slices import is_dicom
from medlsam.pool.manifest import LeftOut, Reason
from medlsam.pool.series import Series, sort_slices
from medlsam.runtime.atomic_files import suffix_of

_LABEL_FOLDERS = ("labels", "labelstr", "labelsts", "masks", "segmentations", "annotations")
_LABEL_NAMES = ("label", "labels", "mask", "masks", "seg", "segmentation", "segmentations", "annotation")


@dataclass(frozen=True)
class Candidate:
    """What may become a scan of the pool.

    Attributes:
        case: its name: of the file, or of the folder of the series.
        source: where it lies, beginning with the name of the folder that was given; a series that shares its folder has
            ``#`` and its number there.
        root: the folder that was given.
        files: the image file, or the slices in order of their places.
        series: what the headers of a DICOM series say; None for image files.
    """

    case: str
    source: str
    root: Path
    files: tuple[Path, ...]
    series: Series | None = None


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
        for folder, files in _folders(root, seen):
            _look_through(folder, files, root, found)
    found.candidates.sort(key=lambda candidate: candidate.source)
    found.left_out.sort()
    return found


def _folders(root: Path, seen: set[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with its files, sorted; links are followed, and what was ``seen`` is not seen again."""
    if root.is_file():
        real = os.path.realpath(root)
        if not {real, os.path.dirname(real)} & seen:
            seen.add(real)
            yield root.parent, [root]
        return
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        yield Path(place), [Path(place, name) for name in sorted(names) if not name.startswith(".")]


def _look_through(folder: Path, files: list[Path], root: Path, found: Found) -> None:
    slices: dict[str, list[DicomHeader]] = defaultdict(list)
    for file in files:
        if is_scan(file):
            _image_file(file, root, found)
        elif _opens_as_dicom(file):
            header = read_dicom_header(file)
            if header is None:
                words = "the DICOM header is cut off or damaged; copy the file again"
                found.left_out.append(LeftOut(source_of(file, root), Reason.UNREADABLE, words))
            else:
                slices[header.series].append(header)
        else:
            found.others += 1
    for headers in slices.values():
        series, left_out = sort_slices(headers)
        shared = len(slices) > 1 or len(series) + len(left_out) > 1
        place = source_of(folder, root)
        for one in series:
            source = f"{place}#{one.name}" if shared else place
            found.candidates.append(Candidate(case_name(folder), source, root, one.files, one))
        for reason, words, name in left_out:
            found.left_out.append(LeftOut(f"{place}#{name}" if shared else place, reason, words))


def _opens_as_dicom(file: Path) -> bool:
    try:
        return is_dicom(file)
    except OSError:
        return False


def _image_file(file: Path, root: Path, found: Found) -> None:
    source = source_of(file, root)
    if _is_label_map(file, root):
        found.left_out.append(LeftOut(source, Reason.LABELS, "a label map by its name or folder"))
    else:
        found.candidates.append(Candidate(case_name(file), source, root, (file,)))


def _is_label_map(file: Path, root: Path) -> bool:
    below = file.relative_to(root).parts[:-1] if root.is_dir() else ()
    if any(part.lower() in _LABEL_FOLDERS for part in below) or root.name.lower() in _LABEL_FOLDERS:
        return True
    stem = file.name.lower().removesuffix(suffix_of(file))
    return any(stem == name or stem.endswith((f"_{name}", f"-{name}", f".{name}")) for name in _LABEL_NAMES)


def source_of(path: Path, root: Path) -> str:
    """Where something lies, with the name of the root before it and slashes between."""
    return root.name if path == root else f"{root.name}/{path.relative_to(root).as_posix()}"
