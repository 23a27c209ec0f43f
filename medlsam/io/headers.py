"""What SimpleITK passes over in the headers of NRRD and MetaImage files: no spacing, which it makes 1."""

from __future__ import annotations

from pathlib import Path

from medlsam.errors import VolumeError
from medlsam.runtime.atomic_files import suffix_of


def check_header(path: Path) -> None:
    """Refuse an NRRD or MetaImage file without spacing.

    Raises:
        VolumeError: naming the file and the fields that are missing.
    """
    suffix = suffix_of(path)
    if suffix in (".nrrd", ".nhdr"):
        _check_text(path, ("space directions:", "spacings:"))
    elif suffix in (".mha", ".mhd"):
        _check_text(path, ("elementspacing", "elementsize"))


def _check_text(path: Path, fields: tuple[str, ...]) -> None:
    with path.open("rb") as file:
        header = file.read(1 << 16).decode("latin-1").lower()
    if not any(line.strip().startswith(fields) for line in header.splitlines()):
        raise VolumeError(
            f"{path}: no voxel spacing in the header; write it there ({' or '.join(fields)} in mm)"
        )
