"""Sources that are NIfTI scans and label maps in two folders; several adapters are such."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from medlsam.data.files import SourceFiles
from medlsam.data.label_values import renumbered
from medlsam.data.source import RawCase, RawScan, Split, failing_case
from medlsam.errors import DatasetError
from medlsam.io.labels import read_label_map
from medlsam.io.read import read_image
from medlsam.volume.volume import Image, LabelMap


def read_scan(files: SourceFiles, name: str) -> Image:
    """Read a scan of a source."""
    with files.at_hand([name]) as folder:
        return read_image(folder / PurePosixPath(name).name)


def read_labels(files: SourceFiles, name: str) -> LabelMap:
    """Read a label map of a source."""
    with files.at_hand([name]) as folder:
        return read_label_map(folder / PurePosixPath(name).name)


def pairs(
    files: SourceFiles,
    split: Split,
    image: str,
    labels: str,
    case: str,
    own: Mapping[int, str],
    names: Mapping[int, str],
) -> list[RawCase]:
    """The cases of one folder of scans. A label map without its scan is a case that fails, where others have theirs.

    Args:
        files: of the source.
        split: of all these cases.
        image: regular expression of a scan's path; its first group is the scan's number.
        labels: the same of the label maps; scans without one are cases without labels.
        case: a case's name, with ``{}`` for the number.
        own: value to structure in the files.
        names: value to structure in the dataset.

    Raises:
        DatasetError: one scan lies in the source twice, or there are label maps and no scan at all.
    """
    scans, maps = _by_number(files, image), _by_number(files, labels)
    if maps and not scans:
        first = files.describe(next(iter(maps.values())))
        raise DatasetError(
            f"{first}: a label map without its scan, and {len(maps) - 1} more such; no scan is here"
        )
    found = [
        RawCase(
            case.format(number),
            split,
            partial(_read, files, scan, maps.get(number), own, names),
            number in maps,
        )
        for number, scan in sorted(scans.items())
    ]
    for number in sorted(set(maps) - set(scans)):
        # A copy that is not whole yet: the rest is of use, and a later run writes this one.
        error = DatasetError(f"{files.describe(maps[number])}: a label map without its scan")
        found.append(failing_case(case.format(number), split, error))
    return found


def _by_number(files: SourceFiles, pattern: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in files.matching(pattern):
        if match[1] in found:
            raise DatasetError(
                f"{files.root}: {found[match[1]]} and {match.string} are one case; give one copy only"
            )
        found[match[1]] = match.string
    return found


def _read(
    files: SourceFiles, scan: str, labels: str | None, own: Mapping[int, str], names: Mapping[int, str]
) -> RawScan:
    image = read_scan(files, scan)
    return RawScan(image, renumbered(read_labels(files, labels), own, names) if labels else None)
