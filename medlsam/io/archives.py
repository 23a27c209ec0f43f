"""Zips, unpacked as long as they are read: no larger than there is room for, and nothing outside of their folder."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medlsam.errors import VolumeError

_LIMIT = 16 * 2**30
#: Left free on the disk that holds temporary files.
_SPARE = 2**29


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the folder that a zip was unpacked into; it goes afterwards.

    Paths in the zip that lead out of the folder are cut to their last parts, as Python's zipfile does.

    Raises:
        VolumeError: the zip is damaged or encrypted, or too large for the disk.
    """
    with tempfile.TemporaryDirectory(prefix="medlsam-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _check_size(path, sum(entry.file_size for entry in archive.infolist()), folder)
                archive.extractall(folder)
        except (
            zipfile.BadZipFile,
            RuntimeError,
            NotImplementedError,
            EOFError,
            OSError,
            ValueError,
        ) as error:
            raise VolumeError(
                f"{path}: the zip cannot be unpacked: damaged or encrypted ({error})"
            ) from error
        yield Path(folder)


def _check_size(path: Path, size: int, folder: str) -> None:
    if size > _LIMIT:
        raise VolumeError(f"{path}: the zip unpacks to more than 16 GiB; give the scan unpacked")
    free = shutil.disk_usage(folder).free
    if size + _SPARE > free:
        raise VolumeError(
            f"{path}: the zip unpacks to {size / 2**30:.1f} GiB, but {folder} has {free / 2**30:.1f} GiB left; "
            "make room, set TMPDIR to another disk, or give the scan unpacked"
        )
