"""Folders looked through, every file once, whatever links there are; and what the names in them say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from medlsam.runtime.atomic_files import suffix_of

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
#: Kinds of images that people have and that are not read here, to what makes them readable.
OTHER_KINDS = {
    ".img": "an Analyze or NIfTI pair; convert it to NIfTI (nibabel, fslchfiletype)",
    ".mgz": "a FreeSurfer image; convert it to NIfTI (mri_convert)",
    ".mgh": "a FreeSurfer image; convert it to NIfTI (mri_convert)",
    ".mnc": "a MINC image; convert it to NIfTI (mnc2nii)",
    ".gipl": "a GIPL image; convert it to NIfTI",
    ".vtk": "a VTK image; convert it to NIfTI",
    ".vti": "a VTK image; convert it to NIfTI",
    ".npy": "a numpy array, which says nothing of spacing and place; write it as NIfTI",
    ".npz": "numpy arrays, which say nothing of spacing and place; write them as NIfTI",
    ".rar": "an archive that is not unpacked; unpack it",
    ".7z": "an archive that is not unpacked; unpack it",
    ".tar": "an archive that is not unpacked; unpack it",
    ".tgz": "an archive that is not unpacked; unpack it",
}
#: Names are cut to so many bytes: file systems allow 255, and what is written has endings.
_LONGEST_NAME = 240
_LABEL_FOLDERS = ("labels", "labelstr", "labelsts", "masks", "segmentations", "annotations", "structures")
_LABEL_NAMES = ("label", "labels", "mask", "masks", "seg", "segmentation", "segmentations", "annotation")


def walk_folders(root: Path, seen: set[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder with its files, sorted, without hidden ones; links are followed.

    Args:
        root: a folder, or a single file.
        seen: real paths of folders that are passed over; those that are looked into are added.

    Yields:
        A folder and its files, also links to nothing.
    """
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
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        yield Path(place), [Path(place, name) for name in sorted(names) if not name.startswith(".")]


def is_label_map(file: Path, root: Path) -> bool:
    """Whether a file's name, or that of a folder between it and ``root``, says that it holds labels."""
    below = file.relative_to(root).parts[:-1] if root.is_dir() else ()
    if any(part.lower() in _LABEL_FOLDERS for part in below) or root.name.lower() in _LABEL_FOLDERS:
        return True
    stem = file.name.lower().removesuffix(suffix_of(file))
    return any(stem == name or stem.endswith((f"_{name}", f"-{name}", f".{name}")) for name in _LABEL_NAMES)


def case_name(path: Path) -> str:
    """The name of a case: file or folder name without image extensions and ``_0000``."""
    name = path.name or path.absolute().name
    if not path.is_dir():
        known = (*IMAGE_SUFFIXES, ".zip", ".dcm")
        name = name[: -len(suffix_of(path))] if suffix_of(path) in known else name
        # A zipped image: scan.nii.gz.zip
        inner = suffix_of(Path(name))
        name = name[: -len(inner)] if inner in IMAGE_SUFFIXES else name
    return writable_name(name.removesuffix("_0000"))


def writable_name(name: str) -> str:
    """A name that a folder can have: text, without separators, not too long."""
    try:
        name.encode()
    except UnicodeEncodeError:
        # Not UTF-8: most such names are of old Windows and Latin text.
        name = os.fsencode(name).decode("latin-1")
    name = re.sub(r"[/\\\x00-\x1f\x7f-\x9f]", "_", name).strip() or "scan"
    if len(name.encode()) > _LONGEST_NAME:
        import hashlib

        tag = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore") + "~" + tag
    return name


def is_scan(path: Path) -> bool:
    """Whether a file's extension is that of an image, or of a zip."""
    return suffix_of(path) in (*IMAGE_SUFFIXES, ".zip")


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without hidden entries."""
    return [f for f in sorted(folder.iterdir()) if not f.name.startswith((".", "__"))]


def known_kinds() -> str:
    """The extensions of scans, for messages."""
    return ", ".join((*IMAGE_SUFFIXES, ".zip"))
