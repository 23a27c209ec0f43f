"""Which scans a path means, and a share of them: folders, names and DICOM headers only, no image is read."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medlsam.errors import UsageError, VolumeError
from medlsam.io.case_folders import check_channels, pair_image
from medlsam.io.dicom.header import is_dicom
from medlsam.io.dicom.read import DicomFiles, damaged_words, not_taken, study_of
from medlsam.io.dicom.stacks import Stack
from medlsam.io.dicom.survey import FoundSeries, find_series
from medlsam.io.folders import (
    OTHER_KINDS,
    case_name,
    is_label_map,
    is_scan,
    known_kinds,
    walk_folders,
    writable_name,
)
from medlsam.io.read import read_dicom_slices, read_image
from medlsam.runtime.atomic_files import suffix_of
from medlsam.volume.volume import Image

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One scan.

    Attributes:
        name: what its results are called.
        path: its image file, the folder of its DICOM series, or the zip of one.
        files: of a DICOM series, its slices in the order of their places, or one file with all of them; empty for
            other scans.
        notes: what a reader of the scan should know; said when it is read.
        fault: why it cannot be read, where that is known already: a damaged file may be one of its slices.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    fault: str = ""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that hold the scan."""
        return self.files or (self.path,)


def read_case(case: Case) -> Image:
    """Read a scan that ``find_cases`` found: HU, (Z, Y, X), as ``read_image`` does.

    Raises:
        VolumeError: see ``read_image``.
    """
    if case.fault:
        raise VolumeError(case.fault)
    for note in case.notes:
        _log.warning("%s: %s", case.path, note)
    return read_dicom_slices(case.files, case.path) if case.files else read_image(case.path)


def case_of(path: Path, first_file: str = "") -> Case:
    """The scan that a record names again.

    Args:
        path: as in ``Case``.
        first_file: the first of its DICOM files; empty for other scans.

    Raises:
        UsageError: the series is not there any more.
    """
    if not first_file:
        return Case(case_name(path), path)
    files = DicomFiles()
    for _, inside in walk_folders(path, set()):
        files.take(inside)
    for series in find_series(files.headers):
        for stack in series.stacks:
            if stack.files[0] == Path(first_file):
                return Case(case_name(path), path, stack.files)
    raise UsageError(f"{path}: the series of {first_file} is not there any more")


def find_cases(path: Path | str) -> list[Case]:
    """The scans that a path means. What looks like a scan and is none of them is named in a warning.

    A DICOM series is one scan wherever its files lie below the path, and is named after the deepest folder that holds
    them. Of several series of one study in one folder, the one with most slices is taken; several patients or studies
    in one folder are scans of their own, named apart by patient and date.

    Args:
        path: a scan, a folder of scans (also as ``<case>/image.*``), an nnU-Net dataset or its ``imagesTr``,
            a DICOM series folder, a folder of series at any depth, a DICOMDIR, or a zip of a series.

    Returns:
        The cases, sorted by name.

    Raises:
        UsageError: there is no such path, no scan in it, or two scans of one name.
    """
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: there is no such file or folder")
    if path.name.upper() == "DICOMDIR" and path.is_file():
        path = path.parent
    if not path.is_dir():
        if not is_scan(path) and not is_dicom(path):
            raise UsageError(f"{path}: not a scan; known are {known_kinds()} and DICOM series folders")
        return [Case(case_name(path), path)]
    if (path / "dataset.json").is_file() and (path / "imagesTr").is_dir():
        path = path / "imagesTr"
    check_channels(path)
    cases, left_out = _in_folder(path)
    if not cases:
        seen = f"; {'; '.join(left_out[:5])}" if left_out else ""
        raise UsageError(
            f"{path}: no scan in this folder; known are {known_kinds()} and DICOM series folders{seen}"
        )
    for words in left_out:
        _log.warning("%s", words)
    cases = _named_apart(cases, path)
    check_unique(cases)
    return sorted(cases, key=lambda case: case.name)


def take_shard(cases: Sequence[Case], shard: str | None) -> list[Case]:
    """Every n-th scan from the i-th on: neighbours in a folder are often alike, also in size.

    A share for each of an array of jobs that have nothing but the folders in common.

    Args:
        cases: all scans, in the same order wherever this is called.
        shard: ``i/n`` with i from 1 to n; None for all scans.

    Raises:
        UsageError: not of that form, or more shards than scans, so that this one is empty.
    """
    if shard is None:
        return list(cases)
    match = re.fullmatch(r"(\d+)/(\d+)", shard.strip())
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"shard {shard!r}: give i/n with i from 1 to n, for example 3/10")
    taken = list(cases[number - 1 :: count])
    if not taken:
        raise UsageError(f"shard {shard}: there are {len(cases)} scans only, so this shard has none")
    return taken


def _in_folder(root: Path) -> tuple[list[Case], list[str]]:
    """The scans of a folder, and what is left out in words."""
    image = pair_image(root)
    if image is not None:
        return [Case(case_name(root), image)], []
    cases: list[Case] = []
    left_out: list[str] = []
    dicom = DicomFiles()
    for folder, files in walk_folders(root, set()):
        dicom.take(file for file in files if not is_scan(file))
        cases += _image_files(folder, files, root, left_out)
        for file in files:
            if (kind := OTHER_KINDS.get(suffix_of(file))) is not None:
                left_out.append(f"left out: {file}: {kind}")
    return cases + _series(dicom, left_out), left_out


def _image_files(folder: Path, files: Sequence[Path], root: Path, left_out: list[str]) -> list[Case]:
    """The image files of one folder: all of the named one; of those below, the one that a case's folder holds."""
    images = [file for file in files if is_scan(file)]
    if folder == root:
        return [Case(case_name(file), file) for file in images]
    image = pair_image(folder)
    if image is not None:
        return [Case(case_name(folder), image)]
    scans = [file for file in images if not is_label_map(file, root)]
    # TotalSegmentator's data: <case>/ct.nii.gz beside other things.
    named = [file for file in scans if file.name.split(".")[0].lower() == "ct"] or scans
    if len(named) == 1:
        return [Case(case_name(folder), named[0])]
    if named:
        left_out.append(
            f"left out: {folder}: {len(named)} image files ({named[0].name}, ...), of which none is called image or "
            "ct; give this folder itself to use them all"
        )
    return []


def _series(dicom: DicomFiles, left_out: list[str]) -> list[Case]:
    """The DICOM scans: of each folder and study the series with most slices."""
    series = find_series(dicom.headers)
    damaged: dict[Path, list[Path]] = defaultdict(list)
    for file in dicom.damaged:
        damaged[file.parent].append(file)
    groups: dict[tuple[Path, tuple[str, str]], list[tuple[FoundSeries, Stack]]] = defaultdict(list)
    for one in series:
        for stack in one.stacks:
            groups[one.folder, study_of(stack)].append((one, stack))
    # A scout with a study of its own is no scan where there is one.
    sound = [key for key, found in groups.items() if any(stack.fault != "too small" for _, stack in found)]
    others: list[Stack] = []
    cases = []
    for key, found in groups.items():
        folder, study = key
        if sound and key not in sound:
            others += [stack for _, stack in found]
            continue
        best = max((stack for _, stack in found), key=lambda stack: stack.slices)
        others += [stack for _, stack in found if stack is not best]
        name = case_name(folder)
        beside = sorted(other for place, other in groups if place == folder and (place, other) in sound)
        if len(beside) > 1:
            name = _of_study(name, best, study, beside)
        cases.append(Case(name, folder, best.files, best.notes))
    left_out += not_taken(series, others)
    for folder, files in damaged.items():
        # Its place in the series is not known, so the scan beside it may lack its first or last slice.
        hurt = [case for case in cases if any(file.parent == folder for file in case.files)]
        words = damaged_words(folder, files)
        left_out += [] if hurt else [words]
        cases = [replace(case, fault=words) if case in hurt else case for case in cases]
    return cases


def _of_study(name: str, stack: Stack, study: tuple[str, str], beside: Sequence[tuple[str, str]]) -> str:
    """The name of one of several studies in a folder: with the patient, date and number where they tell it apart."""
    same = [other for other in beside if other[0] == study[0]]
    parts = [name, study[0]]
    if len(same) > 1:
        parts += [stack.headers[0].study_date, str(same.index(study) + 1)]
    return writable_name("_".join(part for part in parts if part))


def _named_apart(cases: Sequence[Case], root: Path) -> list[Case]:
    """Cases of one name below a folder get the names of the folders above them, as many as tell them apart."""
    named = list(cases)
    count = Counter(case.name for case in named)
    for name in [name for name, n in count.items() if n > 1]:
        alike = [case for case in named if case.name == name]
        above = {id(case): _above(case, root) for case in alike}
        longest = max(len(parts) for parts in above.values())
        for depth in range(1, longest + 1):
            names = {i: writable_name("_".join([*parts[-depth:], name])) for i, parts in above.items()}
            if len(set(names.values())) == len(alike):
                named = [replace(case, name=names.get(id(case), case.name)) for case in named]
                break
    return named


def _above(case: Case, root: Path) -> list[str]:
    """The folders between the named one and that which a case is named after."""
    place = case.path if case.files else case.path.parent
    if not case.files and case.name != case_name(place):
        place = case.path
    try:
        return list(place.relative_to(root).parts[:-1])
    except ValueError:
        return []


def check_unique(cases: Iterable[Case]) -> None:
    """Refuse two cases of one name.

    Raises:
        UsageError: naming both.
    """
    cases = list(cases)
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            places = ", ".join(str(case.path) for case in cases if case.name == name)
            raise UsageError(f"{count} scans are called {name!r}: {places}; rename all but one")
