"""Which scans a path means, and a share of them: folders and names only, no image is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlsam.errors import UsageError
from medlsam.io.dicom.slices import holds_series, is_dicom, series_folders
from medlsam.io.label_names import read_json
from medlsam.io.read import IMAGE_SUFFIXES
from medlsam.runtime.atomic_files import suffix_of


@dataclass(frozen=True)
class Case:
    """One scan: its name and its image file, DICOM series folder, or zip of one."""

    name: str
    path: Path


def case_name(path: Path) -> str:
    """The name of a case: file or folder name without image extensions and ``_0000``."""
    name = path.name
    if path.is_file() or not path.exists():
        known = (*IMAGE_SUFFIXES, ".zip", ".dcm")
        name = name[: -len(suffix_of(path))] if suffix_of(path) in known else name
        # A zipped image: scan.nii.gz.zip
        inner = suffix_of(Path(name))
        name = name[: -len(inner)] if inner in IMAGE_SUFFIXES else name
    return name.removesuffix("_0000")


def find_cases(path: Path | str) -> list[Case]:
    """The scans that a path means.

    Args:
        path: a scan, a folder of scans (also as ``<case>/image.*``), an nnU-Net dataset or its ``imagesTr``,
            a DICOM series folder, a folder of series at any depth, or a zip of a series.

    Returns:
        The cases, sorted by name.

    Raises:
        UsageError: there is no such path, no scan in it, or two scans of one name.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder")
    if path.is_file():
        if not is_scan(path) and not is_dicom(path):
            raise UsageError(f"{path}: not a scan; known are {known_kinds()} and DICOM series folders")
        return [Case(case_name(path), path)]
    if (path / "dataset.json").is_file() and (path / "imagesTr").is_dir():
        path = path / "imagesTr"
    check_channels(path)
    cases = _in_folder(path)
    if not cases:
        raise UsageError(
            f"{path}: no scan in this folder; known are {known_kinds()} and DICOM series folders"
        )
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


def _in_folder(path: Path) -> list[Case]:
    image = pair_image(path)
    if image is not None:
        return [Case(case_name(path), image)]
    if holds_series(path):
        return [Case(case_name(path), path)]
    cases = [Case(case_name(file), file) for file in visible(path) if file.is_file() and is_scan(file)]
    for folder in visible(path):
        if not folder.is_dir():
            continue
        image = pair_image(folder)
        if image is not None:
            cases.append(Case(folder.name, image))
        else:
            cases += [Case(case_name(series), series) for series in series_folders(folder)]
    return cases


def is_scan(path: Path) -> bool:
    """Whether a file's extension is that of an image, or of a zip."""
    return suffix_of(path) in (*IMAGE_SUFFIXES, ".zip")


def one_image(folder: Path, stem: str) -> Path | None:
    """The image file ``<stem>.*`` of a folder, or None.

    Raises:
        UsageError: there are two.
    """
    found = [f for suffix in IMAGE_SUFFIXES if (f := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder}: {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def pair_image(folder: Path) -> Path | None:
    """The ``image.*`` of a case folder; None where other scans lie beside it, since those count too."""
    image = one_image(folder, "image")
    others = [f for f in visible(folder) if is_scan(f) and f.name.split(".")[0] not in ("image", "labels")]
    return None if others else image


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden entries."""
    return [f for f in sorted(folder.iterdir()) if not f.name.startswith((".", "__"))]


def known_kinds() -> str:
    """The extensions of scans, for messages."""
    return ", ".join((*IMAGE_SUFFIXES, ".zip"))


def check_channels(images: Path) -> None:
    """Refuse an nnU-Net dataset of several channels.

    Raises:
        UsageError: ``dataset.json`` beside the folder ``images`` names more than one.
    """
    file = images.parent / "dataset.json"
    if not images.name.startswith("images") or not file.is_file():
        return
    data = read_json(file, UsageError)
    channels = (data.get("channel_names") or data.get("modality")) if isinstance(data, dict) else None
    if channels is not None and len(channels) > 1:
        raise UsageError(f"{file}: {len(channels)} channels ({channels}); medlsam reads one, CT")


def check_unique(cases: Sequence[Case]) -> None:
    """Refuse two cases of one name.

    Raises:
        UsageError: naming both.
    """
    for name, count in Counter(case.name for case in cases).items():
        if count > 1:
            places = ", ".join(str(case.path) for case in cases if case.name == name)
            raise UsageError(f"{count} scans are called {name!r}: {places}; rename all but one")
